"""The file of a language's experts, `expert.<language>.safetensors`: its name, metadata and checks."""

import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .configuration_distilwhisper import DistilWhisperConfig, check_language_code
from .fingerprint_distilwhisper import check_fingerprint, fingerprint

FORMAT_VERSION = "1"
# Settings that all experts of a model share, and what they are in a file from before they could be chosen.
SETTINGS = {"expert_task": "transcribe", "encoder_experts": "True"}
SCALE = ".scale"  # follows the name of a matrix that is stored in integers


def expert_file_name(language: str) -> str:
    """`expert.<language>.safetensors`, of a code that is checked first."""
    return f"expert.{check_language_code(language)}.safetensors"


def language_of_file(name: str) -> str | None:
    """The language whose experts a file of this name holds, or `None` if it is no file of experts."""
    match = re.fullmatch(r"expert\.([a-z]{2,3})\.safetensors", name)
    return match[1] if match else None


def write_expert_file(
    path: Path, language: str, tensors: dict[str, torch.Tensor], model, *, rank: int, gate_dim: int, int8: bool
) -> None:
    """Writes the file under another name and renames it, so that an interruption leaves an older file complete.

    Args:
        path: of the file.
        language: the code.
        tensors: under the keys of `DistilWhisperForConditionalGeneration`.
        model: the model whose backbone the experts belong to; its fingerprint and dimensions go into the metadata.
        rank: of the experts; 0 for full experts.
        gate_dim: width of the gates.
        int8: whether the feed-forwards' matrices are stored as 8-bit integers.
    """
    tensors = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
    if int8:
        tensors = _to_int8(tensors)
    metadata = {
        "format": "pt",
        "distilwhisper_version": FORMAT_VERSION,
        "language": language,
        "expert_rank": str(rank),
        "gate_dim": str(gate_dim),
        **backbone_metadata(model),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary, metadata=metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_expert_file(path: str, language: str, model) -> tuple[dict[str, torch.Tensor], int, int]:
    """Reads the experts of `language`, which must be made on the backbone of `model`.

    Returns:
        The tensors, the experts' rank and the width of their gates.

    Raises:
        ValueError: the file is damaged, holds another language, or was made on another backbone.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = _from_int8({key: file.get_tensor(key) for key in file.keys()})
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}). Fetch or save it again.") from None
    if metadata.get("distilwhisper_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} is not an expert file of version {FORMAT_VERSION}: its metadata says "
            f"{metadata.get('distilwhisper_version')!r}. Expected a file that `save_experts` wrote."
        )
    if metadata.get("language") != language:
        raise ValueError(f"{path} holds the experts of {metadata.get('language')!r}, expected {language!r}.")
    check_backbone(path, metadata, model)
    return tensors, _number(path, metadata, "expert_rank"), _number(path, metadata, "gate_dim")


def backbone_metadata(model) -> dict[str, str]:
    """The part of an expert file's metadata that says on which backbone the experts were made."""
    return {
        "base_model": str(model.config.base_model_name_or_path),
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
    check_fingerprint(path, metadata, model)


def check_tensors(path: str, tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Checks names, shapes and numbers of the tensors in a file of experts.

    Raises:
        ValueError: they are not as expected; the message names the tensors that are missing, unexpected or wrong.
    """
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(f"{path}: missing tensors {missing or 'none'}, unexpected tensors {unexpected or 'none'}.")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ValueError(f"{path}: {key} has shape {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}.")
        if not tensor.is_floating_point() or tensor.isnan().any():
            raise ValueError(f"{path}: {key} holds {tensor.dtype} or NaN, expected floating-point numbers.")


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


def _from_int8(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    scales = {key.removesuffix(SCALE): stored[key] for key in stored if key.endswith(SCALE)}
    # A scale without integers stays in the result, where `check_tensors` reports it as unexpected.
    scales = {key: scale for key, scale in scales.items() if key in stored and stored[key].dtype == torch.int8}
    return {
        key: tensor * scales[key] if key in scales else tensor
        for key, tensor in stored.items()
        if key.removesuffix(SCALE) not in scales or key in scales
    }


def _dimensions(config: DistilWhisperConfig) -> dict[str, str]:
    names = ("d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "decoder_ffn_dim")
    return {name: str(getattr(config, name)) for name in names}


def _number(path: str, metadata: dict[str, str], name: str) -> int:
    value = metadata.get(name, "")
    if not value.isdecimal():
        raise ValueError(f"{path}: its metadata says {name} {value!r}, expected a whole number.")
    return int(value)


__all__ = [
    "backbone_metadata",
    "check_backbone",
    "check_tensors",
    "expert_file_name",
    "language_of_file",
    "read_expert_file",
    "write_expert_file",
]
