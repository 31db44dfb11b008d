"""What is said in recordings of any length, and when: segments with times, of batches that may mix languages."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperProcessor

from ..data.audio import SAMPLING_RATE

# Of full scale, -80 dB: above what rounding and dither make of silence in 16 bits (2 steps, -84 dB), and far below
# speech, whose peaks are above -60 dB even where it is hard to hear.
QUIET = 1e-4
UNDETERMINED = "und"  # ISO 639's code


@dataclass
class Segment:
    """Some words, from `start` to `end` in seconds."""

    start: float
    end: float
    text: str


@dataclass
class Transcript:
    """Attributes:
    language: code of the language that it is in, given or detected; "und" where there is nothing to detect it by.
    seconds: length of the recording.
    segments: in the order of time.
    """

    language: str
    seconds: float
    segments: list[Segment]

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)


@torch.inference_mode()
def transcribe_clips(
    model,
    processor: WhisperProcessor,
    clips: list[np.ndarray],
    languages: list[str | None],
    *,
    times: bool = True,
    **settings,
) -> list[Transcript]:
    """Transcribes a batch. Of a recording without any sound Whisper would invent a text: its transcript is empty.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        clips: samples `(samples,)` at 16 kHz, each of any length. Alike lengths are fastest.
        languages: a code for each, or `None` to detect it in the first 30 s.
        times: whether segments are what Whisper's time tokens say. Without, recordings that fit Whisper's window are a
            segment each: experts learn and are scored so. Longer ones always have times.
        settings: for `generate`, as `num_beams=5` or `task="translate"`.
    """
    transcripts = [
        Transcript(language or UNDETERMINED, len(clip) / SAMPLING_RATE, [])
        for clip, language in zip(clips, languages, strict=True)
    ]
    heard = [index for index, clip in enumerate(clips) if not is_silent(clip)]
    if heard:
        chosen = [clips[index] for index in heard], [languages[index] for index in heard]
        for index, transcript in zip(heard, _hear(model, processor, *chosen, times, settings), strict=True):
            transcripts[index] = transcript
    return transcripts


def is_silent(clip: np.ndarray) -> bool:
    """Whether samples `(samples,)` stay within -80 dB of full scale around one level."""
    return not len(clip) or bool(np.ptp(clip) < 2 * QUIET)


def _hear(model, processor: WhisperProcessor, clips: list, languages: list, times: bool, settings: dict) -> list:
    window = processor.feature_extractor.n_samples
    is_long = max(map(len, clips)) > window
    whole = {"truncation": False, "padding": "longest"} if is_long else {}
    features = processor.feature_extractor(
        clips, sampling_rate=SAMPLING_RATE, return_attention_mask=True, return_tensors="pt", **whole
    )
    inputs = features.input_features.to(model.device, model.dtype)
    languages = _with_detected(model, processor, inputs, languages)
    found = model.generate(
        input_features=inputs,
        attention_mask=features.attention_mask.to(model.device),
        language=languages,
        return_timestamps=times or is_long,
        return_segments=True,
        **settings,
    )
    return [
        Transcript(language, len(clip) / SAMPLING_RATE, _segments(own, processor, len(clip) / SAMPLING_RATE))
        for language, clip, own in zip(languages, clips, found["segments"], strict=True)
    ]


def _with_detected(model, processor: WhisperProcessor, inputs: torch.Tensor, languages: list[str | None]) -> list[str]:
    unknown = [index for index, language in enumerate(languages) if language is None]
    if not unknown:
        return languages
    tokens = model.detect_language(inputs[unknown, :, : processor.feature_extractor.nb_max_frames])
    names = {token: name.strip("<|>") for name, token in model.generation_config.lang_to_id.items()}
    detected = dict(zip(unknown, (names[token] for token in tokens.tolist()), strict=True))
    return [detected.get(index, language) for index, language in enumerate(languages)]


def _segments(found: list[dict], processor: WhisperProcessor, seconds: float) -> list[Segment]:
    segments = []
    for one in found:
        # Control tokens and times have the numbers from the end token on; not every tokenizer lists the times.
        words = one["tokens"][one["tokens"] < processor.tokenizer.eos_token_id]
        text = processor.tokenizer.decode(words).strip()
        # The last window is padded to 30 s. Words that end in the padding end with the recording; words that begin in
        # it were never said.
        start, end = (round(min(float(one[name]), seconds), 2) for name in ("start", "end"))
        if text and start < end:
            segments.append(Segment(start, end, text))
    return segments
