"""Timed transcripts of recordings of any length, from window to window in temporal order. A batch may mix languages."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import WhisperProcessor

from ..data.features import speech_features
from ..data.mono import SAMPLING_RATE
from ..data.samples import as_clips
from ..runs.detection import WHISPER, check_candidates, detected_languages
from .segments import UNDETERMINED, Segment, Transcript

# Of full scale: -80 dB. Rounding and dither make noise of -84 dB (2 steps of 16 bits) out of silence, and the peaks of
# speech are above -60 dB even if it is hard to hear.
QUIET = 1e-4


@torch.inference_mode()
def transcribe_clips(
    model,
    processor: WhisperProcessor,
    clips: Sequence[np.ndarray],
    languages: Sequence[str | None],
    *,
    return_timestamps: bool = True,
    candidate_languages: Sequence[str] | None = None,
    detection: str = WHISPER,
    **settings,
) -> list[Transcript]:
    """Transcribes a batch of recordings.

    A silent recording gets an empty transcript: Whisper would generate a text for it. No transcript
    depends on the other clips: those longer than Whisper's window (30 s) are transcribed one by one, others together.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        processor: the model's processor.
        clips: samples `(samples,)` at 16 kHz, each of any length: float32 from -1 to 1, or int16; arrays, tensors or
            lists.
        languages: a code for each clip, or `None` to detect the language in its first 30 s.
        return_timestamps: whether Whisper's timestamps divide a clip into segments. If not, a clip that fits Whisper's
            window gives one segment: experts are trained and scored so. A longer clip always has timestamps.
        candidate_languages: names of the languages to choose from where it is detected; `None`: all.
        detection: "whisper", its own; or "trained", by the model's trained detection rows.
        settings: for `generate`, such as `num_beams=5` or `task="translate"`.

    Returns:
        A transcript for each clip.

    Raises:
        ValueError: a clip is no mono audio or not finite; there is not one language for each clip; or the model cannot
            detect a candidate, or has no trained rows.

    Example:
        >>> from modeling_distilwhisper import load_model, load_processor, read_audio, transcribe_clips
        >>> folder = "examples/quickstart/teacher"
        >>> model, processor = load_model(folder, "float32", "cpu"), load_processor(folder)
        >>> clip = read_audio("examples/quickstart/in_domain/ca/test/000.ogg")
        >>> (transcript,) = transcribe_clips(model, processor, [clip], ["ca"], return_timestamps=False)
        >>> transcript.language, transcript.text, len(transcript.segments)
        ('ca', 'disset quilograms', 1)
    """
    clips = as_clips(clips)
    if isinstance(languages, str) or len(languages) != len(clips):
        raise ValueError(
            f"Expected a list with a language, or None, for each of {len(clips)} clips, got {languages!r}."
        )
    check_candidates(model, candidate_languages, detection)
    transcripts = [
        Transcript(language or UNDETERMINED, len(clip) / SAMPLING_RATE, [])
        for clip, language in zip(clips, languages, strict=True)
    ]
    audible = [index for index, clip in enumerate(clips) if not is_silent(clip)]
    window = processor.feature_extractor.n_samples
    # A longer clip has a batch of its own: features are padded to the longest, which changes the ends of the others.
    batches = [[index] for index in audible if len(clips[index]) > window]
    if fitting := [index for index in audible if len(clips[index]) <= window]:
        batches.append(fitting)
    for batch in batches:
        batch_clips, batch_languages = [clips[index] for index in batch], [languages[index] for index in batch]
        choice = (candidate_languages, detection)
        results = _transcribe(model, processor, batch_clips, batch_languages, return_timestamps, choice, settings)
        for index, transcript in zip(batch, results, strict=True):
            transcripts[index] = transcript
    return transcripts


def is_silent(clip: np.ndarray) -> bool:
    """Whether samples `(samples,)` stay within -80 dB of full scale around one level."""
    return not len(clip) or bool(np.ptp(clip) < 2 * QUIET)


def _transcribe(
    model,
    processor: WhisperProcessor,
    clips: list,
    languages: list,
    return_timestamps: bool,
    choice: tuple[Sequence[str] | None, str],
    settings: dict,
) -> list[Transcript]:
    features = speech_features(processor, clips)
    inputs = features.input_features.to(model.device, model.dtype)
    languages = _with_detected(model, inputs[:, :, : processor.feature_extractor.nb_max_frames], languages, choice)
    is_long = max(map(len, clips)) > processor.feature_extractor.n_samples
    generated = model.generate(
        input_features=inputs,
        attention_mask=features.attention_mask.to(model.device),
        language=languages,
        return_timestamps=return_timestamps or is_long,
        return_segments=True,
        **settings,
    )
    return [
        Transcript(language, len(clip) / SAMPLING_RATE, _segments(segments, processor, len(clip) / SAMPLING_RATE))
        for language, clip, segments in zip(languages, clips, generated["segments"], strict=True)
    ]


def _with_detected(model, inputs: torch.Tensor, languages: list[str | None], choice: tuple) -> list[str]:
    unknown = [index for index, language in enumerate(languages) if language is None]
    detected: dict[int, str] = {}
    if unknown:
        detected = dict(zip(unknown, detected_languages(model, inputs[unknown], *choice), strict=True))
    return [detected[index] if language is None else language for index, language in enumerate(languages)]


def _segments(generated: list[dict], processor: WhisperProcessor, seconds: float) -> list[Segment]:
    segments = []
    for part in generated:
        # Ids of control tokens and timestamps begin at the end token's. Not every tokenizer lists the timestamps.
        tokens = part["tokens"][part["tokens"] < processor.tokenizer.eos_token_id]
        text = processor.tokenizer.decode(tokens).strip()
        # The last window is padded to 30 s. A segment that ends in the padding ends with the recording. A segment that
        # begins in the padding has no audio.
        start, end = (round(min(float(part[name]), seconds), 2) for name in ("start", "end"))
        if text and start < end:
            segments.append(Segment(start, end, text))
    return segments
