"""Transcribes windows of at most 30 s, of any recordings and languages, in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, StoppingCriteriaList, WhisperProcessor, set_seed
from transformers.modeling_outputs import BaseModelOutput

from ..data.features import speech_features
from ..runs.detection import WHISPER, detected_languages, no_speech_probabilities, start_logits
from .doubts import SHORT_SECONDS, TEMPERATURES, is_loop
from .heard import heard_by
from .loops import EndOfLoops
from .segments import Word, follow_in
from .word_times import can_align, read_back


@dataclass
class WindowText:
    """What was transcribed in a window.

    Attributes:
        text: of the window.
        seconds: of its audio.
        words: with times from the window's start; `None` if the model names no heads of attention to align them by, or
            if the words are not those of the text.
        avg_logprob: the mean log probability of the tokens of the text, as it is without a prompt and at temperature 0;
            `None` where it was not asked for, or no heads are named.
        no_speech: the probability that a short window holds no speech (Radford et al., 2023, section 4.5).
    """

    text: str
    seconds: float
    words: list[Word] | None = None
    avg_logprob: float | None = field(default=None, compare=False)  # the last digits of both depend on the batch
    no_speech: float | None = field(default=None, compare=False)


@torch.inference_mode()
def transcribe_windows(
    model,
    processor: WhisperProcessor,
    features: BatchFeature,
    languages: Sequence[str],
    *,
    logprobs: bool = False,
    **settings,
) -> list[WindowText]:
    """Transcribes a batch of windows by one call of `generate`. No row depends on the others.

    Whisper's timestamps are not asked for: experts are trained without them, and text after the last one would be lost.
    A window whose text repeats itself is transcribed once more, at higher temperatures until it does not; whether a
    short one holds speech is asked of Whisper too.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        processor: the model's.
        features: of clips that fit Whisper's window (`window_features`).
        languages: a code for each.
        logprobs: whether the mean log probability of each text is wanted.
        settings: for `generate`.
    """
    contents = _generate(model, processor, features, languages, settings, logprobs)
    if "temperature" not in settings:
        for row, content in enumerate(contents):
            if is_loop(content.text, content.seconds):
                alone = BatchFeature({name: values[row : row + 1] for name, values in features.items()})
                contents[row] = _sampled(model, processor, alone, languages[row], settings, logprobs)
    return contents


def _sampled(
    model, processor: WhisperProcessor, features: BatchFeature, language: str, settings: dict, logprobs: bool
) -> WindowText:
    """The text of a window at the lowest temperature at which it does not repeat itself, or at the highest."""
    for temperature in TEMPERATURES:
        set_seed(0)  # sampling is random
        remedy = {**settings, "num_beams": 1, "do_sample": True, "temperature": temperature}
        (content,) = _generate(model, processor, features, [language], remedy, logprobs)
        if not is_loop(content.text, content.seconds):
            break
    return content


def _generate(
    model,
    processor: WhisperProcessor,
    features: BatchFeature,
    languages: Sequence[str],
    settings: dict[str, Any],
    logprobs: bool,
) -> list[WindowText]:
    mask = features.attention_mask.to(model.device)
    beams = settings.get("num_beams", model.generation_config.num_beams) or 1
    # With several beams, the end of a row would change which of them are kept. With several temperatures, Transformers
    # decides by the complete text of each whether it tries the next.
    if beams == 1 and not isinstance(settings.get("temperature"), list | tuple):
        endings = [*(settings.get("stopping_criteria") or ()), EndOfLoops(processor.tokenizer)]
        settings = {**settings, "stopping_criteria": StoppingCriteriaList(endings)}
    with heard_by(model) as heard:
        generated = model.generate(
            input_features=features.input_features.to(model.device, model.dtype),
            attention_mask=mask,
            language=list(languages),
            return_timestamps=False,
            return_segments=True,
            **settings,
        )["segments"]
    # Ids of control tokens begin at the end token's.
    end_token = processor.tokenizer.eos_token_id
    texts = [
        [token for segment in row for token in segment["tokens"].tolist() if token < end_token] for row in generated
    ]
    frames = mask.sum(-1).tolist()
    frame = processor.feature_extractor.hop_length / processor.feature_extractor.sampling_rate
    contents = [
        WindowText(processor.tokenizer.decode(text).strip(), count * frame)
        for text, count in zip(texts, frames, strict=True)
    ]
    if can_align(model):
        task = settings.get("task", "transcribe")
        readings = read_back(model, processor, heard, frames, texts, languages, task, logprobs=logprobs)
        for content, reading in zip(contents, readings, strict=True):
            content.words = reading.words if follow_in(content.text, reading.words) else None
            content.avg_logprob = reading.avg_logprob
    if rows := [row for row, content in enumerate(contents) if content.seconds < SHORT_SECONDS]:
        # Experts learn from speech alone, and would hardly ever say that there is none: the start alone asks Whisper.
        logits = start_logits(model, BaseModelOutput(heard.states[rows]))
        for row, probability in zip(rows, no_speech_probabilities(model, logits), strict=True):
            contents[row].no_speech = probability
    return contents


@torch.inference_mode()
def detect_languages(
    model,
    processor: WhisperProcessor,
    features: BatchFeature,
    candidates: Sequence[str] | None = None,
    detection: str = WHISPER,
) -> list[str]:
    """The language of each clip, a code, by its first window. Other arguments as for `detected_languages`."""
    inputs = features.input_features.to(model.device, model.dtype)
    return detected_languages(model, inputs[:, :, : processor.feature_extractor.nb_max_frames], candidates, detection)


def window_features(processor: WhisperProcessor, clips: Sequence[np.ndarray]) -> BatchFeature:
    """Features of clips that fit Whisper's window.

    Raises:
        ValueError: one is longer.
    """
    limit = processor.feature_extractor.n_samples
    if longest := max((len(clip) for clip in clips if len(clip) > limit), default=0):
        raise ValueError(f"A clip has {longest} samples. Expected at most {limit}: cut the recording into windows.")
    return speech_features(processor, clips)
