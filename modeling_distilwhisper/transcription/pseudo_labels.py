"""Labels of utterances without transcripts: the text by a Whisper, and scores that need no reference.

A filter chooses by the scores what a training may learn from (uDistil-Whisper, Waheed et al., NAACL 2025, does so).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import BatchFeature, WhisperProcessor, set_seed
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ..data.labels import label_ids
from ..data.mono import SAMPLING_RATE
from ..data.rows import one_line
from ..evaluation.metrics import count_errors
from ..language_names_distilwhisper import nearest_language
from ..languages_distilwhisper import known_languages, without_own_tokens
from ..runs.detection import WHISPER, no_speech_probabilities, start_logits
from .doubts import compression_ratio, doubt
from .heard import heard_by
from .window_batch import detect_languages, transcribe_windows, window_features
from .windows import Window

# By name: whether more of it is better, where one end is the better one.
SCORES: dict[str, bool | None] = {
    "mean_logprob": True,
    "lowest_logprob": True,
    "no_speech": False,
    "compression_ratio": False,
    "characters_per_second": None,
    "language_probability": True,
    "disagreement": False,
}
BATCHES_AHEAD = 4  # that are planned at a time: similar lengths share a batch
DIGITS = 4  # of a score; further ones depend on the batch


@dataclass
class Label:
    """The label of an utterance.

    Attributes:
        text: on one line.
        language: its code, given or detected.
        scores: by name, of `SCORES`; `None` where it is not known. `mean_logprob` and `lowest_logprob` are over the
            tokens that a training would learn, text and end; an empty text has neither. `no_speech` and
            `language_probability` are by Whisper's own weights, without experts. `disagreement` is the WER of the
            second text, with the first as its reference.
        doubt: why the text is taken for invented (`doubts.py`); `None` if it is not.
        second_text: by the second decoding or model; `None` without one.
    """

    text: str
    language: str
    scores: dict[str, float | None] = field(default_factory=dict)
    doubt: str | None = None
    second_text: str | None = None


class Second(NamedTuple):
    """What transcribes each utterance once more.

    Attributes:
        model: the same one, or another.
        processor: the model's.
        settings: for `generate`, such as `num_beams=5`; or a `temperature`, at which texts are drawn at random.
    """

    model: Any
    processor: WhisperProcessor
    settings: dict[str, Any]


@dataclass(eq=False)
class Speech:
    """A recording, or a row of a corpus, with its utterances.

    Attributes:
        key: tells it apart.
        samples: `(samples,)` at 16 kHz.
        windows: the utterances, which fit Whisper's window.
        language: a code; `None`: that of the first utterance is detected.
    """

    key: Any
    samples: np.ndarray
    windows: Sequence[Window]
    language: str | None = None


class PseudoLabeller:
    """Labels utterances by a Whisper, and scores its labels without references.

    No label depends on the other utterances, but for the last digits of its scores.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        processor: the model's.
        second: transcribes each utterance once more, so that labels have the score `disagreement`.
        candidate_languages, detection: how a language is detected, as for `detected_languages`.
        batch_size: utterances at a time.
        on_batch: called after each batch with the seconds of speech that are done.
        settings: for `generate`, such as `num_beams=5`.

    Example:
        >>> from modeling_distilwhisper import PseudoLabeller, load_model, load_processor, read_audio
        >>> from modeling_distilwhisper.transcription.pseudo_labels import Speech
        >>> from modeling_distilwhisper.transcription.windows import Window
        >>> folder = "examples/quickstart/teacher"
        >>> labeller = PseudoLabeller(load_model(folder, "float32", "cpu"), load_processor(folder))
        >>> clip = read_audio("examples/quickstart/in_domain/ca/test/000.ogg")
        >>> ((_, (label,)),) = labeller([Speech("000", clip, [Window(((0, len(clip)),))], "ca")])
        >>> label.text, -0.5 < label.scores["mean_logprob"] < 0
        ('disset quilograms', True)
    """

    def __init__(
        self,
        model,
        processor: WhisperProcessor,
        *,
        second: Second | None = None,
        candidate_languages: Sequence[str] | None = None,
        detection: str = WHISPER,
        batch_size: int = 8,
        on_batch: Callable[[float], None] | None = None,
        **settings: Any,
    ):
        self.model, self.processor, self.second = model, processor, second
        self.choice = (candidate_languages, detection)
        self.batch_size, self.on_batch, self.settings = batch_size, on_batch, settings
        self.speech_seconds = 0.0

    def __call__(self, recordings: Iterable[Speech]) -> Iterator[tuple[Speech, list[Label] | Exception]]:
        """Yields each recording, and a label for each of its utterances, or what went wrong.

        Args:
            recordings: taken as they are needed.
        """
        group: list[Speech] = []
        for speech in recordings:
            group.append(speech)
            if sum(len(waiting.windows) for waiting in group) >= BATCHES_AHEAD * self.batch_size:
                yield from self._label(group)
                group = []
        yield from self._label(group)

    def _label(self, group: Sequence[Speech]) -> Iterator[tuple[Speech, list[Label] | Exception]]:
        labels: dict[tuple[Speech, Window], Label | Exception] = {}
        self._detect([(speech, speech.windows[0]) for speech in group if speech.windows and speech.language is None])
        pieces = [(speech, window) for speech in group for window in speech.windows]
        pieces.sort(key=lambda piece: -piece[1].length)
        for start in range(0, len(pieces), self.batch_size):
            batch = pieces[start : start + self.batch_size]
            labels |= zip(batch, self._label_or_explain(batch), strict=True)
            self.speech_seconds += sum(window.length for _, window in batch) / SAMPLING_RATE
            if self.on_batch is not None:
                self.on_batch(self.speech_seconds)
        for speech in group:
            of_speech = [labels[speech, window] for window in speech.windows]
            failed = [label for label in of_speech if isinstance(label, Exception)]
            yield speech, failed[0] if failed else of_speech  # type: ignore[misc]

    def _detect(self, pieces: list[tuple[Speech, Window]]) -> None:
        """Gives recordings the language of their first utterance."""
        for start in range(0, len(pieces), self.batch_size):
            batch = pieces[start : start + self.batch_size]
            features = self._features(self.processor, batch)
            detected = detect_languages(self.model, self.processor, features, *self.choice)
            for (speech, _), language in zip(batch, detected, strict=True):
                speech.language = language

    def _features(self, processor: WhisperProcessor, pieces: Sequence[tuple[Speech, Window]]) -> BatchFeature:
        return window_features(processor, [window.cut(speech.samples) for speech, window in pieces])

    def _label_or_explain(self, pieces: Sequence[tuple[Speech, Window]]) -> list[Label | Exception]:
        """A label for each utterance, or the exception that it raised. If a batch fails, they are tried one by one."""
        try:
            return [*self._label_batch(pieces)]
        except Exception as error:
            if len(pieces) == 1:
                return [error.with_traceback(None)]  # a traceback would hold memory that others need
        return [label for piece in pieces for label in self._label_or_explain([piece])]

    def _label_batch(self, pieces: Sequence[tuple[Speech, Window]]) -> list[Label]:
        languages = [speech.language or "" for speech, _ in pieces]
        features = self._features(self.processor, pieces)
        with heard_by(self.model) as heard:
            windows = transcribe_windows(self.model, self.processor, features, languages, **self.settings)
        texts = [one_line(window.text) for window in windows]
        encoded = states_without_experts(self.model, features, heard.states)
        probabilities = start_probabilities(self.model, encoded, languages)
        labels = []
        for row, (text, language, (_, window)) in enumerate(zip(texts, languages, pieces, strict=True)):
            seconds = window.length / SAMPLING_RATE
            no_speech, of_language = probabilities[row]
            logprobs = token_logprobs(self.model, self.processor, heard.states[row : row + 1], text, language)
            scores = {
                "mean_logprob": sum(logprobs) / len(logprobs) if logprobs else None,
                "lowest_logprob": min(logprobs, default=None),
                "no_speech": no_speech,
                "compression_ratio": compression_ratio(text),
                "characters_per_second": sum(not letter.isspace() for letter in text) / seconds,
                "language_probability": of_language,
            }
            labels.append(Label(text, language, _rounded(scores), doubt(text, seconds, no_speech)))
        if self.second is not None:
            self._compare(labels, pieces)
        return labels

    def _compare(self, labels: list[Label], pieces: Sequence[tuple[Speech, Window]]) -> None:
        """Adds the second text of each utterance, and how far it is from the first."""
        assert self.second is not None
        model, processor, settings = self.second
        # Sampling draws one random number after the other, so rows of a batch would share them.
        size = 1 if "temperature" in settings else len(pieces)
        texts: list[str] = []
        for start in range(0, len(pieces), size):
            batch = pieces[start : start + size]
            set_seed(0)
            languages = [speech.language or "" for speech, _ in batch]
            windows = transcribe_windows(model, processor, self._features(processor, batch), languages, **settings)
            texts += [one_line(window.text) for window in windows]
        counts = count_errors([label.text for label in labels], texts, languages=[label.language for label in labels])
        for row, (label, text) in enumerate(zip(labels, texts, strict=True)):
            label.second_text = text
            label.scores |= _rounded({"disagreement": counts[row : row + 1].rates()["wer"]})  # type: ignore[dict-item]


@torch.inference_mode()
def states_without_experts(model, features: BatchFeature, states: torch.Tensor) -> torch.Tensor:
    """The encoder's states `(clips, frames, d_model)` by Whisper's own weights: those at hand, if it has no experts."""
    if not getattr(model.config, "languages", None):
        return states
    return model.get_encoder()(features.input_features.to(model.device, model.dtype)).last_hidden_state


def start_probabilities(model, encoded: torch.Tensor, languages: Sequence[str]) -> list[tuple[float, float]]:
    """For each clip the probabilities that it holds no speech, and that its language is the one of `languages`.

    That of a language is among all that Whisper has a token for; of one that it has none for, it is that of the
    language that comes nearest, or else of the most probable one.

    Args:
        model: a multilingual Whisper of any kind.
        encoded: the encoder's states `(clips, frames, d_model)`, without experts.
        languages: the name of each clip's.
    """
    known = without_own_tokens(known_languages(model), model.config.vocab_size)
    logits = start_logits(model, BaseModelOutput(encoded))
    no_speech = no_speech_probabilities(model, logits)
    of_languages = logits[:, [*known.values()]].softmax(-1)
    places = dict(zip(known, range(len(known)), strict=True))
    codes = [nearest_language(language, known) for language in languages]
    probabilities = [
        (of_languages[row].max() if code is None else of_languages[row, places[code]]).item()
        for row, code in enumerate(codes)
    ]
    return list(zip(no_speech, probabilities, strict=True))


@torch.inference_mode()
def token_logprobs(model, processor: WhisperProcessor, encoded: torch.Tensor, text: str, language: str) -> list[float]:
    """The log-probability of each token of a text and of its end, as a training would learn them; [] without text.

    Args:
        model: a multilingual Whisper of any kind.
        processor: the model's.
        encoded: the encoder's last states `(1, frames, d_model)`.
        text: of the clip.
        language: a code.
    """
    if not text:
        return []
    ids = label_ids(processor.tokenizer, text, language)
    begin = ids.index(model.generation_config.no_timestamps_token_id) + 1  # behind the prompt
    labels = torch.tensor([ids[: model.config.max_target_positions]], device=model.device)
    inputs = shift_tokens_right(labels, model.config.pad_token_id, model.config.decoder_start_token_id)
    output = model(encoder_outputs=BaseModelOutput(encoded), decoder_input_ids=inputs, use_cache=False)
    logprobs = output.logits[0, begin:].float().log_softmax(-1)
    return logprobs.gather(1, labels[0, begin:, None])[:, 0].tolist()


def _rounded(scores: dict[str, float | None]) -> dict[str, float | None]:
    """Scores for a file; one that is not finite is not known."""
    return {
        name: round(value, DIGITS) if value is not None and math.isfinite(value) else None
        for name, value in scores.items()
    }
