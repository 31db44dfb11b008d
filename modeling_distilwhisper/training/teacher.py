"""The larger Whisper that a student learns from, live: any size, vocabulary, features and precision."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoModelForSpeechSeq2Seq, WhisperConfig, WhisperFeatureExtractor, WhisperProcessor

from .. import modeling_distilwhisper as _registered  # noqa: F401 (the Auto classes know our model by it)
from ..data.audio import SAMPLING_RATE
from ..runs.any_whisper import load_processor
from ..runs.precision import precision_settings
from .vocabulary import vocabulary_map

FEATURES = "teacher_input_features"


def load_teacher(location: str, precision: str = "auto", device: torch.device | str = "cpu") -> "Teacher":
    """A teacher from a folder or the Hub: plain or fine-tuned, with a LoRA adapter or with language experts.

    Args:
        precision, device: as `precision_settings` takes them, which raises what this raises.
    """
    model = AutoModelForSpeechSeq2Seq.from_pretrained(location, **precision_settings(precision, device))
    return Teacher(model, load_processor(location))


class Teacher:
    """Says what a Whisper expects at each position of a reference transcript, in the student's vocabulary.

    Args:
        model: any multilingual Whisper; frozen here.
        processor: its own. `None`: it has the student's vocabulary and features.
    """

    def __init__(self, model, processor: WhisperProcessor | None = None):
        self.model = model.requires_grad_(False).eval()
        self.processor = processor
        self.extractor = None  # where its features are others than the student's
        self.places: torch.Tensor | None = None  # where its vocabulary is another

    def prepare(self, ours: WhisperConfig, processor: WhisperProcessor, device: torch.device | str) -> "Teacher":
        """Prepares to teach a student of this configuration and processor, on `device`.

        Raises:
            ValueError: the two cannot understand each other; the message says what differs.
        """
        theirs = self.model.config
        alike = ["max_source_positions"]
        if self.processor is None:
            alike += ["vocab_size", "num_mel_bins"]
        else:
            places = vocabulary_map(processor.tokenizer, ours.vocab_size, self.processor.tokenizer, theirs.vocab_size)
            same = ours.vocab_size == theirs.vocab_size and torch.equal(places, torch.arange(len(places)))
            self.places = None if same else places.to(device)
            same = _what_is_heard(processor.feature_extractor) == _what_is_heard(self.processor.feature_extractor)
            self.extractor = None if same else self.processor.feature_extractor
        for name in alike:
            if getattr(ours, name) != getattr(theirs, name):
                raise ValueError(
                    f"The teacher has {name} {getattr(theirs, name)}, the student {getattr(ours, name)}. Expected a "
                    "teacher with the student's window and, unless it comes with its processor (`load_teacher`), with "
                    "the student's vocabulary and features."
                )
        if not getattr(self.model, "is_quantized", False):  # quantised models are where they were loaded to
            self.model.to(device)
        return self

    @property
    def in_batches(self) -> "TeacherFeatures | None":
        """What adds to each batch what `targets` needs besides the student's inputs."""
        return None if self.extractor is None else TeacherFeatures(self.extractor)

    @torch.no_grad()
    def targets(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, tokens, student's vocabulary)`.

        Args:
            inputs: a batch, with what `in_batches` adds.
            decoder_input_ids: `(batch, tokens)`, as the student is given them.

        Raises:
            ValueError: a token, such as that of a language, which the teacher has not.
        """
        features = inputs.get(FEATURES, inputs["input_features"])
        if self.places is not None:
            decoder_input_ids = self._translated(decoder_input_ids)
        device = features.device.type
        with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and self._is_whole()):
            logits = self.model(
                input_features=features.to(self.model.dtype),
                attention_mask=inputs.get("attention_mask"),
                decoder_input_ids=decoder_input_ids,
                use_cache=False,
            ).logits
        if self.places is None:
            return logits
        # Tokens that the teacher has and the student has not drop out; those that it lacks itself it never expects.
        return logits[..., self.places.clamp(min=0)].masked_fill(self.places < 0, -torch.inf)

    def hidden(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """What `output` makes logits of: the last hidden states `(batch, tokens, the teacher's d_model)`."""
        seen: list[torch.Tensor] = []
        hook = self.model.get_output_embeddings().register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        try:
            self.targets(inputs, decoder_input_ids)
        finally:
            hook.remove()
        return seen[0]

    def output(self) -> dict[str, torch.Tensor]:
        """`weight`, `(student's vocabulary, d_model)`, and `unknown`, true for tokens that the teacher has not."""
        weight = self.model.get_output_embeddings().weight.detach()
        places = torch.arange(len(weight), device=weight.device) if self.places is None else self.places
        return {"weight": weight[places.clamp(min=0)].contiguous().cpu(), "unknown": (places < 0).cpu()}

    def _is_whole(self) -> bool:
        """Whether its weights are in float32: others have their precision already, and autocast would mix in one."""
        return self.model.dtype == torch.float32 and not getattr(self.model, "is_quantized", False)

    def _translated(self, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        ids = self.places[decoder_input_ids]
        unknown = ids < 0
        if unknown.any():
            missing = sorted(set(decoder_input_ids[unknown].tolist()))
            raise ValueError(
                f"The teacher has no token for the student's {missing}, as for a language that it does not know. "
                "Leave these rows out, or take a teacher that knows it."
            )
        return ids


@dataclass
class TeacherFeatures:
    """Adds the teacher's own features to batches: those of large-v3 have 128 mel bins, not 80."""

    extractor: WhisperFeatureExtractor

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        heard = self.extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return {FEATURES: heard["input_features"]}


def _what_is_heard(extractor) -> dict:
    names = ("feature_size", "sampling_rate", "n_fft", "hop_length", "chunk_length", "padding_value", "dither")
    return {name: getattr(extractor, name) for name in names}
