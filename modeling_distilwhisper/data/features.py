"""Log-mel features of recordings, the input of Whisper's encoder."""

from collections.abc import Sequence

import numpy as np
from transformers import BatchFeature, WhisperProcessor

from .mono import SAMPLING_RATE
from .samples import as_clips


def speech_features(processor: WhisperProcessor, clips: Sequence[np.ndarray]) -> BatchFeature:
    """Log-mel features of a batch of clips, and where they hold audio.

    Clips that fit Whisper's window (30 s) are padded to it. If one is longer, all are padded to the longest, and
    `generate` moves from window to window by timestamps (Radford et al., 2023, section 4.5).

    Args:
        processor: the model's processor.
        clips: samples `(samples,)` at 16 kHz, float32 from -1 to 1; or what `as_samples` makes such samples of.

    Returns:
        `input_features` `(batch, mel bins, frames)` and `attention_mask` `(batch, frames)`, 1 where there is audio. A
        frame is 10 ms.

    Raises:
        ValueError: a clip is no mono audio, or not finite.

    Example:
        >>> import numpy as np
        >>> from transformers import WhisperProcessor
        >>> processor = WhisperProcessor.from_pretrained("examples/quickstart/student")
        >>> features = speech_features(processor, [np.zeros(16000, dtype=np.float32)])
        >>> features.input_features.shape, int(features.attention_mask.sum())
        (torch.Size([1, 80, 300]), 100)
    """
    clips = as_clips(clips)
    is_long = any(len(clip) > processor.feature_extractor.n_samples for clip in clips)
    long_form = {"truncation": False, "padding": "longest"} if is_long else {}
    return processor.feature_extractor(
        clips, sampling_rate=SAMPLING_RATE, return_attention_mask=True, return_tensors="pt", **long_form
    )
