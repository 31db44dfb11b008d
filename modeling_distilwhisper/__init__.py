"""Multilingual DistilWhisper for Transformers: Whisper with gated language experts.

Importing it registers the model with the Auto classes of Transformers. All else is imported at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import workarounds as workarounds  # first: it silences what libraries say while they are imported

# isort: split

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

if TYPE_CHECKING:
    from .data.audio import read_audio
    from .data.collate import SpeechCollator
    from .data.common_voice import read_common_voice
    from .data.fleurs import read_fleurs
    from .data.folder import read_folder
    from .data.hub import read_hub
    from .data.sources import parse_sources, read_sources
    from .data.usable import keep_scorable, keep_usable
    from .data.voice import Silero
    from .evaluation.gates import forced_gates, measure_expert_usage
    from .evaluation.metrics import ErrorCounts, compare_errors, count_errors, error_rates
    from .evaluation.transcription import transcribe_rows
    from .export.authors import convert_checkpoint
    from .export.low_rank import compress_experts
    from .export.onnx import export_to_onnx
    from .export.whisper import export_to_whisper
    from .own_tokens_distilwhisper import add_own_tokens
    from .reporting.figures import draw_wer
    from .reporting.model_card import card_of_run, save_card
    from .runs.any_whisper import load_model, load_processor
    from .runs.language_codes import OwnName
    from .training.arguments import DistilWhisperTrainingArguments
    from .training.detection import detection_states, fit_detection
    from .training.teacher import Teacher, load_teacher
    from .training.teacher_cache import TeacherCache
    from .training.trainer import DistilWhisperTrainer
    from .transcription.batched import BatchTranscriber
    from .transcription.pseudo_labels import PseudoLabeller
    from .transcription.segments import Dropped, Segment, Transcript, Word
    from .transcription.sequential import transcribe_clips
    from .transcription.subtitles import to_srt, to_vtt

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

# By module: what it gives when somebody asks for it. The list above is the same for type checkers.
_LAZY = {
    "data.audio": ("read_audio",),
    "data.collate": ("SpeechCollator",),
    "data.common_voice": ("read_common_voice",),
    "data.fleurs": ("read_fleurs",),
    "data.folder": ("read_folder",),
    "data.hub": ("read_hub",),
    "data.sources": ("parse_sources", "read_sources"),
    "data.usable": ("keep_scorable", "keep_usable"),
    "evaluation.gates": ("forced_gates", "measure_expert_usage"),
    "evaluation.metrics": ("ErrorCounts", "compare_errors", "count_errors", "error_rates"),
    "evaluation.transcription": ("transcribe_rows",),
    "data.voice": ("Silero",),
    "export.authors": ("convert_checkpoint",),
    "export.low_rank": ("compress_experts",),
    "export.onnx": ("export_to_onnx",),
    "export.whisper": ("export_to_whisper",),
    "own_tokens_distilwhisper": ("add_own_tokens",),
    "reporting.figures": ("draw_wer",),
    "reporting.model_card": ("card_of_run", "save_card"),
    "runs.any_whisper": ("load_model", "load_processor"),
    "runs.language_codes": ("OwnName",),
    "training.arguments": ("DistilWhisperTrainingArguments",),
    "training.detection": ("detection_states", "fit_detection"),
    "training.teacher": ("Teacher", "load_teacher"),
    "training.teacher_cache": ("TeacherCache",),
    "training.trainer": ("DistilWhisperTrainer",),
    "transcription.batched": ("BatchTranscriber",),
    "transcription.pseudo_labels": ("PseudoLabeller",),
    "transcription.segments": ("Dropped", "Segment", "Transcript", "Word"),
    "transcription.sequential": ("transcribe_clips",),
    "transcription.subtitles": ("to_srt", "to_vtt"),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "DistilWhisperConfig",
    "DistilWhisperForConditionalGeneration",
    "DistilWhisperModel",
    "DistilWhisperOutput",
    *_MODULE_OF,
]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")
    try:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ModuleNotFoundError as error:
        from .runs.extras import EXTRAS, MissingLibraryError, missing

        if error.name not in EXTRAS:
            raise
        raise MissingLibraryError(missing(error.name), name=error.name) from None


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
