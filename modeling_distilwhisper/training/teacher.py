"""The larger Whisper that a student learns from: any size, vocabulary, features and precision."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoModelForSpeechSeq2Seq, WhisperConfig, WhisperFeatureExtractor, WhisperProcessor

from ..data.mono import SAMPLING_RATE
from ..runs.any_whisper import load_processor, load_weights
from ..runs.precision import precision_settings
from .vocabulary import own_token_map, token_map

FEATURES = "teacher_input_features"


def load_teacher(location: str, precision: str = "auto", device: torch.device | str = "cpu") -> "Teacher":
    """Loads a teacher: a plain or fine-tuned Whisper, or one with a LoRA adapter or with language experts.

    Args:
        location: folder or Hub id.
        precision: of its weights, one of `PRECISIONS`, as for `precision_settings`.
        device: where it will run.

    Returns:
        The teacher, to be given to `DistilWhisperTrainer`.

    Raises:
        ValueError: an unknown precision.
        ImportError: the library of a quantised precision is missing; the message says how to get it.

    Example:
        >>> from modeling_distilwhisper import load_teacher
        >>> teacher = load_teacher("examples/quickstart/teacher")
        >>> teacher.model.dtype, any(weight.requires_grad for weight in teacher.model.parameters())
        (torch.float32, False)
    """
    model = load_weights(AutoModelForSpeechSeq2Seq, location, **precision_settings(precision, device))
    return Teacher(model, load_processor(location))


class Teacher:
    """Predicts each next token of a reference transcript by a Whisper, in the student's vocabulary.

    Args:
        model: any multilingual Whisper; it is frozen here.
        processor: the model's. `None`: it has the student's vocabulary and features.

    Attributes:
        extractor: the teacher's feature extractor, if its features differ from the student's.
        token_map: `(student's vocabulary,)`, each token's id in the teacher's vocabulary, if that differs.
        own_tokens: the student's language tokens that are not in its vocabulary -> the teacher's token of the same
            language or of its relative; -1: the language that the teacher detects in each row.

    Example:
        >>> import torch
        >>> from transformers import WhisperForConditionalGeneration, WhisperProcessor
        >>> from modeling_distilwhisper import SpeechCollator, load_teacher, read_folder
        >>> student = WhisperForConditionalGeneration.from_pretrained("examples/quickstart/student")
        >>> processor = WhisperProcessor.from_pretrained("examples/quickstart/student")
        >>> teacher = load_teacher("examples/quickstart/teacher").prepare(student.config, processor, "cpu")
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test").select(range(2))
        >>> batch = SpeechCollator(processor, extra=teacher.batch_extra)(list(rows))
        >>> start = torch.full((2, 1), student.config.decoder_start_token_id)
        >>> logits = teacher.targets(batch, start)
        >>> tuple(logits.shape) == (2, 1, student.config.vocab_size)
        True
    """

    def __init__(self, model, processor: WhisperProcessor | None = None):
        self.model = model.requires_grad_(False).eval()
        self.processor = processor
        self.extractor: WhisperFeatureExtractor | None = None
        self.token_map: torch.Tensor | None = None
        self.own_tokens: dict[int, int] = {}

    def prepare(self, student: WhisperConfig, processor: WhisperProcessor, device: torch.device | str) -> "Teacher":
        """Prepares it for a student on a device.

        Args:
            student: the student's configuration.
            processor: the student's.
            device: the student's. A quantised teacher stays where it is.

        Returns:
            The teacher itself.

        Raises:
            ValueError: vocabulary, features or window do not fit; the message names the difference.
        """
        config = self.model.config
        must_be_equal = ["max_source_positions"]
        if self.processor is None:
            must_be_equal += ["vocab_size", "num_mel_bins"]
        else:
            mapped = token_map(processor.tokenizer, student.vocab_size, self.processor.tokenizer, config.vocab_size)
            is_same = student.vocab_size == config.vocab_size and torch.equal(mapped, torch.arange(len(mapped)))
            self.token_map = None if is_same else mapped.to(device)
            extractor = self.processor.feature_extractor
            is_same = _feature_settings(processor.feature_extractor) == _feature_settings(extractor)
            self.extractor = None if is_same else extractor
        self.own_tokens = own_token_map(student, self.model)
        for name in must_be_equal:
            if getattr(student, name) != getattr(config, name):
                raise ValueError(
                    f"The teacher has {name} {getattr(config, name)}, the student {getattr(student, name)}. Expected a "
                    "teacher with the student's window and, unless it comes with its processor (`load_teacher`), with "
                    "the student's vocabulary and features."
                )
        if not getattr(self.model, "is_quantized", False):
            self.model.to(device)
        return self

    @property
    def batch_extra(self) -> "TeacherFeatures | None":
        """A `SpeechCollator` must add this to each batch (`extra`) for `targets`; `None`: nothing."""
        return None if self.extractor is None else TeacherFeatures(self.extractor)

    @torch.no_grad()
    def targets(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """The teacher's logits `(batch, tokens, student's vocabulary)`.

        Args:
            inputs: a batch, with the tensors of `batch_extra`.
            decoder_input_ids: `(batch, tokens)`, as the student gets them.

        Raises:
            ValueError: the teacher has no token for one of these, such as a language's.
        """
        features = inputs.get(FEATURES, inputs["input_features"])
        decoder_input_ids = self._in_teachers_vocabulary(decoder_input_ids, features)
        device = features.device.type
        with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and self._is_float32()):
            logits = self.model(
                input_features=features.to(self.model.dtype),
                attention_mask=inputs.get("attention_mask"),
                decoder_input_ids=decoder_input_ids,
                use_cache=False,
            ).logits
        if self.token_map is None:
            return logits
        # The teacher's other tokens are left out; tokens that it lacks get probability 0.
        return logits[..., self.token_map.clamp(min=0)].masked_fill(self.token_map < 0, -torch.inf)

    def hidden(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """The last hidden states `(batch, tokens, teacher's d_model)`, from which `output` makes logits."""
        states: list[torch.Tensor] = []
        output = self.model.get_output_embeddings()
        hook = output.register_forward_pre_hook(lambda module, arguments: states.append(arguments[0]))
        try:
            self.targets(inputs, decoder_input_ids)
        finally:
            hook.remove()
        return states[0]

    def output(self) -> dict[str, torch.Tensor]:
        """`weight` `(student's vocabulary, d_model)`, and `unknown`, true for tokens that the teacher lacks."""
        weight = self.model.get_output_embeddings().weight.detach()
        mapped = torch.arange(len(weight), device=weight.device) if self.token_map is None else self.token_map
        return {"weight": weight[mapped.clamp(min=0)].contiguous().cpu(), "unknown": (mapped < 0).cpu()}

    def _is_float32(self) -> bool:
        """Whether autocast may lower its precision: other weights were loaded in the requested one."""
        return self.model.dtype == torch.float32 and not getattr(self.model, "is_quantized", False)

    def _in_teachers_vocabulary(self, decoder_input_ids: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        ids = decoder_input_ids
        if self.own_tokens:
            is_own = torch.isin(ids, torch.tensor(list(self.own_tokens), device=ids.device))
            ids = ids.masked_fill(is_own, 0)
        if self.token_map is not None:
            ids = self.token_map[ids]
        for token, theirs in self.own_tokens.items():
            here = decoder_input_ids == token
            if theirs < 0 and here.any():
                detected = self.model.detect_language(features.to(self.model.dtype)).to(ids.device)
                ids = torch.where(here, detected.unsqueeze(1), ids)
            elif theirs >= 0:
                ids = ids.masked_fill(here, theirs)
        unknown = ids < 0
        if unknown.any():
            missing = sorted(set(decoder_input_ids[unknown].tolist()))
            raise ValueError(
                f"The teacher has no token for the student's {missing}, such as that of a language it does not know. "
                "Leave these rows out, or choose a teacher that knows the language."
            )
        return ids


@dataclass
class TeacherFeatures:
    """Adds the teacher's features to batches: those of large-v3 have 128 mel bins, not 80."""

    extractor: WhisperFeatureExtractor

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return {FEATURES: features["input_features"]}


def _feature_settings(extractor: WhisperFeatureExtractor) -> dict:
    names = ("feature_size", "sampling_rate", "n_fft", "hop_length", "chunk_length", "padding_value", "dither")
    return {name: getattr(extractor, name) for name in names}
