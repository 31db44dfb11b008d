"""What experts change in one recording: plain Whisper's transcript beside theirs, and which words took the expert."""

from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import regex
import torch
from transformers import WhisperProcessor
from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

from ..data.audio import SAMPLING_RATE
from ..data.labels import label_ids
from ..evaluation.gates import forced_gates, gates_of_utterance
from ..evaluation.normalization import UNSPACED, keep_marks
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from .segments import Transcript, transcribe_clips

PROMPT = 3  # language, task and <|notimestamps|> stand before the text


@dataclass
class Gates:
    """Which tokens took the expert, when each window of a recording (30 s in Whisper) is heard with its own transcript.

    Attributes:
        frames: `(layers, frames)` of the encoder, 1 where the expert ran.
        words: of the transcript, in order.
        words_open: `(layers, words)` of the decoder: the share of a word's tokens that took the expert.
    """

    frames: np.ndarray
    words: list[str]
    words_open: np.ndarray


@dataclass
class SideBySide:
    """
    Attributes:
        plain: as Whisper hears it, without experts.
        experts: as its language's experts hear it; `plain` where it has none.
        gates: `None` where it has none.
    """

    plain: Transcript
    experts: Transcript
    gates: Gates | None


def transcribe_side_by_side(
    model: DistilWhisperForConditionalGeneration,
    processor: WhisperProcessor,
    samples: np.ndarray,
    language: str | None = None,
    **settings,
) -> SideBySide:
    """Transcribes a recording twice. No other thread may use the model meanwhile: its gates are shut for the plain one.

    Args:
        model: in evaluation mode.
        samples: `(samples,)` at 16 kHz, of any length.
        language: a code, or `None` to detect it.
        settings: as for `transcribe_clips`.
    """
    with forced_gates(model, is_open=False):
        (plain,) = transcribe_clips(model, processor, [samples], [language], **settings)
    if plain.language not in model.config.languages:
        return SideBySide(plain, plain, None)
    (experts,) = transcribe_clips(model, processor, [samples], [plain.language], **settings)
    return SideBySide(plain, experts, _gates(model, processor, samples, experts))


def _gates(model, processor: WhisperProcessor, samples: np.ndarray, transcript: Transcript) -> Gates:
    size = processor.feature_extractor.n_samples
    windows = []
    for begin in range(0, len(samples), size):
        heard, (start, end) = samples[begin : begin + size], (begin / SAMPLING_RATE, (begin + size) / SAMPLING_RATE)
        text = " ".join(segment.text for segment in transcript.segments if start <= segment.start < end)
        windows.append(_gates_of_window(model, processor, heard, text, transcript.language))
    return Gates(
        frames=np.concatenate([gates.frames for gates in windows], axis=1),
        words=[word for gates in windows for word in gates.words],
        words_open=np.concatenate([gates.words_open for gates in windows], axis=1),
    )


def _gates_of_window(model, processor: WhisperProcessor, heard: np.ndarray, text: str, language: str) -> Gates:
    # The start token comes in front of the labels.
    labels = label_ids(processor.tokenizer, text, language)[: model.config.max_target_positions - 1]
    features = processor.feature_extractor(
        heard, sampling_rate=SAMPLING_RATE, return_attention_mask=True, return_tensors="pt"
    )
    batch = {
        "input_features": features.input_features.to(model.device, model.dtype),
        "attention_mask": features.attention_mask.to(model.device),
        "labels": torch.tensor([labels], device=model.device),
    }
    found = {side: gates.float().cpu().numpy() for side, gates in gates_of_utterance(model, batch).items()}
    tokens = [token for token in labels[PROMPT:] if token != processor.tokenizer.eos_token_id]
    words, _, places = _combine_tokens_into_words(processor.tokenizer, tokens, LANGUAGES[language])
    opened = {
        index: found["decoder"][:, [PROMPT + place for place in own]].mean(axis=1)
        for index, own in enumerate(places)
        if words[index].strip()  # of an empty transcript there is still the space that stands in front
    }
    words_open = np.stack([*opened.values()], axis=1) if opened else np.empty((len(found["decoder"]), 0))
    return Gates(found["encoder"], [words[index].strip() for index in opened], words_open)


def changed_words(before: Transcript, after: Transcript) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """The words of two transcripts, each with whether the other says something else there.

    Case and punctuation do not count. Where a language writes without spaces, each letter is a word.
    """
    words = [_words(transcript) for transcript in (before, after)]
    compared = [[keep_marks(word) for word in own] for own in words]
    changed = [[bool(word) for word in own] for own in compared]  # all, but for lone punctuation
    for block in SequenceMatcher(None, *compared, autojunk=False).get_matching_blocks():
        for own, start in zip(changed, (block.a, block.b), strict=True):
            own[start : start + block.size] = [False] * block.size
    return tuple(list(zip(own, marks, strict=True)) for own, marks in zip(words, changed, strict=True))


def _words(transcript: Transcript) -> list[str]:
    """Words with the space behind them, so that joined they are the text."""
    if transcript.language in UNSPACED:
        return regex.findall(r"[\p{Latin}\d]+\s*|\X", transcript.text)
    return regex.findall(r"\S+\s*", transcript.text)
