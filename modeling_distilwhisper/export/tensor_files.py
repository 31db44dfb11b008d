"""Tensors by name from a file of others. Neither code in it is run nor a size in it believed."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..numbers_distilwhisper import check_numbers

Tensors = dict[str, torch.Tensor]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def read_tensors(path: Path) -> Tensors:
    """The tensors of a file by name. Nothing else in a pickle is loaded or run, and a file's size bounds the memory."""
    if path.suffix != ".safetensors" and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or is not a pickle of torch.save, 1.6 or later. Download it again.")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            _check_archive(path)
            tensors = torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} holds more than tensors, or is not a pickle. It was not loaded, because that may run code. "
            "If it was complete once, download it again."
        ) from None
    except Exception as error:  # damaged bytes raise errors of any class
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged ({reason}). Download it again.") from None
    is_named = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
    if not is_named or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path} does not hold tensors by name. Expected a state dict.")
    for key, tensor in tensors.items():
        _check_memory(path, key, tensor)
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{path}: {key} holds {tensor.dtype}, expected finite float32 or less.")
    check_numbers(str(path), tensors)
    return tensors


def _check_archive(path: Path) -> None:
    """Refuses a pickle whose parts would unfold to more than the file's size."""
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is compressed; torch.save does not compress")
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts are larger than it")


def _check_memory(path: Path, key: str, tensor: torch.Tensor) -> None:
    """Refuses a tensor that is larger than what it holds: expanded, sparse, or without data."""
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not is_plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(
            f"{path}: {key}, of shape {tuple(tensor.shape)}, is {tensor.layout} on {tensor.device} and does not hold a "
            "number for each of its places. Expected a dense tensor."
        )


__all__ = ["Tensors", "read_tensors"]
