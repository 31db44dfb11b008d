"""Multilingual DistilWhisper for Transformers: Whisper with gated language experts."""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
)

from .configuration_distilwhisper import DistilWhisperConfig
from .modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperModel, DistilWhisperOutput

AutoConfig.register(DistilWhisperConfig.model_type, DistilWhisperConfig, exist_ok=True)
AutoModel.register(DistilWhisperConfig, DistilWhisperModel, exist_ok=True)
AutoModelForSpeechSeq2Seq.register(DistilWhisperConfig, DistilWhisperForConditionalGeneration, exist_ok=True)
AutoFeatureExtractor.register(DistilWhisperConfig, WhisperFeatureExtractor, exist_ok=True)
AutoTokenizer.register(DistilWhisperConfig, WhisperTokenizer, exist_ok=True)
AutoProcessor.register(DistilWhisperConfig, WhisperProcessor, exist_ok=True)

# What `save_pretrained` copies into a checkpoint, for users without this package (`trust_remote_code=True`).
DistilWhisperConfig.register_for_auto_class()
DistilWhisperModel.register_for_auto_class("AutoModel")
DistilWhisperForConditionalGeneration.register_for_auto_class("AutoModelForSpeechSeq2Seq")

__all__ = ["DistilWhisperConfig", "DistilWhisperForConditionalGeneration", "DistilWhisperModel", "DistilWhisperOutput"]
