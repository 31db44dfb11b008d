"""The file of a language's experts, `expert.<language>.safetensors`: its name, metadata and checks."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .configuration_distilwhisper import DistilWhisperConfig
from .fingerprint_distilwhisper import check_fingerprint, fingerprint
from .language_names_distilwhisper import language_name
from .names_distilwhisper import public_name
from .numbers_distilwhisper import check_numbers

FORMAT_VERSION = "1"
# Settings that all experts of a model share, and what they are in a file from before they could be chosen.
SETTINGS = {"expert_task": "transcribe", "encoder_experts": "True", "decoder_experts": "True"}
SCALE = ".scale"  # follows the name of a matrix that is stored in integers
FLOATS = {"F64", "F32", "F16", "BF16"}  # names of dtypes in a safetensors file
INTEGERS = "I8"


def expert_file_name(language: str) -> str:
    """`expert.<language>.safetensors`, of a name that is checked first."""
    return f"expert.{language_name(language)}.safetensors"


def language_of_file(name: str) -> str | None:
    """The language whose experts a file of this name holds, or `None` if it is no file of experts."""
    match = re.fullmatch(r"expert\.([A-Za-z0-9-]+)\.safetensors", name)
    try:
        return match[1] if match and language_name(match[1]) == match[1] else None
    except ValueError:
        return None


def write_expert_file(
    path: Path,
    language: str,
    tensors: dict[str, torch.Tensor],
    model,
    *,
    rank: int,
    gate_dim: int,
    int8: bool,
    relative: str | None = None,
) -> None:
    """Writes the file of a language's experts.

    Args:
        path: of the file, in a folder that is being staged.
        language: the code.
        tensors: under the keys of `DistilWhisperForConditionalGeneration`.
        model: the model whose backbone the experts belong to; its fingerprint and dimensions go into the metadata.
        rank: of the experts; 0 for full experts.
        gate_dim: width of the gates.
        int8: whether the feed-forwards' matrices are stored as 8-bit integers.
        relative: the language that this one was started from, if Whisper has no token for it.

    Raises:
        ValueError: a tensor holds numbers that no model can compute with; nothing is written.
    """
    tensors = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
    check_numbers(f"{path.name} is not written", tensors)
    if int8:
        tensors = _to_int8(tensors)
    metadata = {
        "format": "pt",
        "distilwhisper_version": FORMAT_VERSION,
        "language": language,
        "expert_rank": str(rank),
        "gate_dim": str(gate_dim),
        **({"relative": relative} if relative else {}),
        **backbone_metadata(model),
    }
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata=metadata)


@contextmanager
def opened_expert_file(path: str, language: str, model) -> Iterator["ExpertFile"]:
    """The file with the experts of `language`, which must be made on the backbone of `model`.

    Raises:
        ValueError: the file is damaged, holds another language, or was made on another backbone.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield ExpertFile(path, file, language, model)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}). Fetch or save it again.") from None


class ExpertFile:
    """An open file of experts. Its metadata is checked; of its tensors only names, shapes and dtypes are read so far.

    Attributes:
        rank: of the experts.
        gate_dim: the width of their gates. The file is large enough for it.
        relative: the language that this one was started from, if Whisper has no token for it.
    """

    def __init__(self, path: str, file: Any, language: str, model):
        self.path, self._file = path, file
        metadata = file.metadata() or {}
        if metadata.get("distilwhisper_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path} is not an expert file of version {FORMAT_VERSION}: its metadata says "
                f"{metadata.get('distilwhisper_version')!r}. Expected a file that `save_experts` wrote."
            )
        if metadata.get("language") != language:
            raise ValueError(f"{path} holds the experts of {metadata.get('language')!r}, expected {language!r}.")
        check_backbone(path, metadata, model)
        try:
            self.relative = language_name(metadata["relative"]) if "relative" in metadata else None
        except ValueError as error:
            raise ValueError(f"{path}: its metadata names a relative that is no language. {error}") from None
        slices = {key: file.get_slice(key) for key in file.keys()}
        self.shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
        self.dtypes = {key: part.get_dtype() for key, part in slices.items()}
        # What the metadata asks for must be in the file: its own size, which is known, bounds the memory it takes.
        d_model, stored = model.config.d_model, sum(map(math.prod, self.shapes.values()))
        self.rank, self.gate_dim = _number(path, metadata, "expert_rank"), _number(path, metadata, "gate_dim")
        for name, value, least, most in (
            ("expert_rank", self.rank, 0, d_model),
            ("gate_dim", self.gate_dim, 1, stored // d_model),
        ):
            if not least <= value <= most:
                raise ValueError(
                    f"{path}: its metadata says {name} {value}, and a file of its size has {least} to {most}. Fetch or "
                    "save it again."
                )

    def has_detection(self, language: str) -> bool:
        """Whether the file holds a trained detection row."""
        return f"model.decoder.experts.{language}.detection_weight" in self.shapes

    def read(self, expected: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors of the file.

        Args:
            expected: tensors of the right names and shapes, without memory (on the device "meta").

        Raises:
            ValueError: names, shapes, dtypes or numbers are not as expected; the message names the tensors.
        """
        scaled = {key for key, dtype in self.dtypes.items() if dtype == INTEGERS and key + SCALE in self.dtypes}
        shapes = {key: tuple(tensor.shape) for key, tensor in expected.items()}
        shapes |= {key + SCALE: (*shape[:1], 1) for key, shape in shapes.items() if key in scaled}
        check_shapes(self.path, self.shapes, shapes)
        for key, dtype in self.dtypes.items():
            if dtype not in FLOATS and key not in scaled:
                raise ValueError(f"{self.path}: {key} holds {dtype}, expected floating-point numbers.")
        tensors = {key: self._file.get_tensor(key).clone() for key in self.shapes}  # apart from the file's memory
        for key in scaled:
            if not (tensors[key + SCALE] > 0).all():
                raise ValueError(
                    f"{self.path}: {key + SCALE} holds a scale that is not positive, expected positive ones."
                )
        tensors = _from_int8(tensors, scaled)
        check_numbers(self.path, tensors)
        return tensors


def backbone_metadata(model) -> dict[str, str]:
    """The part of an expert file's metadata that says on which backbone the experts were made."""
    return {
        "base_model": str(public_name(model.config.base_model_name_or_path)),
        "fingerprint": fingerprint(model),
        **_dimensions(model.config),
        **{name: str(getattr(model.config, name)) for name in SETTINGS},
    }


def check_backbone(path: str, metadata: dict[str, str], model) -> None:
    """Checks that the experts in a file were made on the backbone of `model`.

    Args:
        path: of the file, for the message.
        metadata: of the file.
        model: a `DistilWhisperForConditionalGeneration` or `DistilWhisperModel`.

    Raises:
        ValueError: they were made on another backbone.
    """
    for name, expected in _dimensions(model.config).items():
        if metadata.get(name) != expected:
            raise ValueError(
                f"{path} was made on a backbone ({metadata.get('base_model')}) with {name} {metadata.get(name)}, and "
                f"this one has {expected}. Load it on the backbone it was made on."
            )
    for name, default in SETTINGS.items():
        theirs, ours = metadata.get(name, default), str(getattr(model.config, name))
        if theirs != ours:
            raise ValueError(
                f"{path} holds experts with {name} {theirs}, and this model has {ours}, for all of its languages. Load "
                f"them into a model that was made with {name}={theirs}."
            )
    try:
        check_fingerprint(path, metadata, model)
    except (TypeError, RuntimeError, AttributeError, KeyError, IndexError) as error:  # values of other types
        raise ValueError(f"{path}: its fingerprint is damaged ({error}). Fetch or save it again.") from None


def check_shapes(path: str, shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    """Checks names and shapes of the tensors in a file.

    Raises:
        ValueError: they are not as expected; the message names the tensors that are missing, unexpected or wrong.
    """
    missing, unexpected = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(f"{path}: missing tensors {missing or 'none'}, unexpected tensors {unexpected or 'none'}.")
    for key, shape in shapes.items():
        if shape != expected[key]:
            raise ValueError(f"{path}: {key} has shape {shape}, expected {expected[key]}.")


def _to_int8(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices as integers, -127 to 127, each with a scale `(rows, 1)`. Gates, which decide by small margins, stay."""
    stored = {}
    for key, tensor in tensors.items():
        if tensor.dim() == 2 and ".gate." not in key:
            scale = (tensor.float().abs().amax(dim=1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)
            stored[key + SCALE] = scale
            tensor = (tensor.float() / scale).round().to(torch.int8)
        stored[key] = tensor
    return stored


def _from_int8(stored: dict[str, torch.Tensor], scaled: set[str]) -> dict[str, torch.Tensor]:
    scales = {key: stored.pop(key + SCALE) for key in scaled}
    return {key: tensor * scales[key] if key in scaled else tensor for key, tensor in stored.items()}


def _dimensions(config: DistilWhisperConfig) -> dict[str, str]:
    names = ("d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "decoder_ffn_dim")
    return {name: str(getattr(config, name)) for name in names}


def _number(path: str, metadata: dict[str, str], name: str) -> int:
    value = metadata.get(name, "")
    if not re.fullmatch("[0-9]{1,9}", value):
        raise ValueError(f"{path}: its metadata says {name} {value!r}, expected a whole number.")
    return int(value)


__all__ = [
    "ExpertFile",
    "backbone_metadata",
    "check_backbone",
    "check_shapes",
    "expert_file_name",
    "language_of_file",
    "opened_expert_file",
    "write_expert_file",
]
