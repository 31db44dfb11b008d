"""What experts change in one recording: the transcripts without and with them, and which words took the expert."""

from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import regex
import torch
from transformers import WhisperProcessor

from ..data.features import speech_features
from ..data.labels import label_ids
from ..data.mono import SAMPLING_RATE
from ..data.samples import as_samples
from ..data.voice import Detector
from ..evaluation.gates import forced_gates, gates_of_utterance
from ..evaluation.normalization import is_unspaced, keep_marks
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from .batched import BatchTranscriber
from .segments import Transcript
from .word_times import words_of

PROMPT_LENGTH = 3  # language, task and <|notimestamps|> stand before the text

MarkedWords = list[tuple[str, bool]]  # words, and whether each differs


@dataclass
class Gates:
    """Which tokens of a recording took the expert.

    The model gets each window of the recording (30 s in Whisper) with the transcript of that window.

    Attributes:
        frames: `(layers, frames)` of the encoder, 1 where the expert ran.
        words: words of the transcript, in order.
        word_usage: `(layers, words)` of the decoder: the share of the tokens of a word that took the expert.
    """

    frames: np.ndarray
    words: list[str]
    word_usage: np.ndarray


@dataclass
class SideBySide:
    """Two transcripts of one recording.

    Attributes:
        plain: Whisper's, without experts.
        experts: with the experts of the language; the same as `plain` if the language has none.
        gates: `None` if the language has no experts.
    """

    plain: Transcript
    experts: Transcript
    gates: Gates | None


def transcribe_side_by_side(
    model: DistilWhisperForConditionalGeneration,
    processor: WhisperProcessor,
    samples: np.ndarray,
    language: str | None = None,
    detector: Detector | None = None,
    **settings,
) -> SideBySide:
    """Transcribes a recording without and with experts, as `BatchTranscriber` does.

    No other thread may use the model during this call: while words are timed, its attention is another one.

    Args:
        model: in evaluation mode.
        processor: the model's processor.
        samples: `(samples,)` at 16 kHz, of any length.
        language: a code, or `None` to detect it.
        detector: finds speech, as for `BatchTranscriber`.
        settings: further arguments of `BatchTranscriber`.

    Raises:
        ValueError: the samples are no mono audio or not finite.
    """
    samples = as_samples(samples)
    transcriber = BatchTranscriber(model, processor, detector, **settings)
    with forced_gates(model, is_open=False):
        plain = _transcript(transcriber, samples, language)
    if plain.language not in list(model.config.languages or []):
        return SideBySide(plain, plain, None)
    experts = _transcript(transcriber, samples, plain.language)
    return SideBySide(plain, experts, _gates(model, processor, samples, experts))


def _transcript(transcriber: BatchTranscriber, samples: np.ndarray, language: str | None) -> Transcript:
    ((_, transcript),) = transcriber([(None, samples, language)])
    if isinstance(transcript, Exception):
        raise transcript
    return transcript


def _gates(model, processor: WhisperProcessor, samples: np.ndarray, transcript: Transcript) -> Gates:
    size = processor.feature_extractor.n_samples
    windows = []
    for first in range(0, len(samples), size):
        start, end = first / SAMPLING_RATE, (first + size) / SAMPLING_RATE
        text = " ".join(segment.text for segment in transcript.segments if start <= segment.start < end)
        window = samples[first : first + size]
        windows.append(_gates_of_window(model, processor, window, text, transcript.language))
    return Gates(
        frames=np.concatenate([gates.frames for gates in windows], axis=1),
        words=[word for gates in windows for word in gates.words],
        word_usage=np.concatenate([gates.word_usage for gates in windows], axis=1),
    )


def _gates_of_window(model, processor: WhisperProcessor, window: np.ndarray, text: str, language: str) -> Gates:
    # The model adds the start token.
    labels = label_ids(processor.tokenizer, text, language)[: model.config.max_target_positions - 1]
    features = speech_features(processor, [window])
    batch = {
        "input_features": features.input_features.to(model.device, model.dtype),
        "attention_mask": features.attention_mask.to(model.device),
        "labels": torch.tensor([labels], device=model.device),
    }
    gates = {side: values.float().cpu().numpy() for side, values in gates_of_utterance(model, batch).items()}
    tokens = [token for token in labels[PROMPT_LENGTH:] if token != processor.tokenizer.eos_token_id]
    words, positions = words_of(processor.tokenizer, tokens, language)
    usage = {
        index: gates["decoder"][:, [PROMPT_LENGTH + position for position in word_positions]].mean(axis=1)
        for index, word_positions in enumerate(positions)
        if words[index].strip()  # an empty transcript still has the space before the text
    }
    word_usage = np.stack([*usage.values()], axis=1) if usage else np.empty((len(gates["decoder"]), 0))
    return Gates(gates["encoder"], [words[index].strip() for index in usage], word_usage)


def changed_words(before: Transcript, after: Transcript) -> tuple[MarkedWords, MarkedWords]:
    """The words of two transcripts, each with whether it differs from the other transcript.

    Case and punctuation do not count. In languages that write without spaces, each letter is a word.
    """
    first, second = _words(before), _words(after)
    compared = (
        [keep_marks(word, before.language) for word in first],
        [keep_marks(word, after.language) for word in second],
    )
    differs = [[bool(word) for word in words] for words in compared]  # punctuation alone never differs
    for block in SequenceMatcher(None, *compared, autojunk=False).get_matching_blocks():
        for marks, start in zip(differs, (block.a, block.b), strict=True):
            marks[start : start + block.size] = [False] * block.size
    return list(zip(first, differs[0], strict=True)), list(zip(second, differs[1], strict=True))


def _words(transcript: Transcript) -> list[str]:
    """Words with the space after them, so that joined they are the text."""
    if is_unspaced(transcript.language):
        return regex.findall(r"[\p{Latin}\d]+\s*|\X", transcript.text)
    return regex.findall(r"\S+\s*", transcript.text)
