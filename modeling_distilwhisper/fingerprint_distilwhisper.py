"""The backbone's fingerprint, written into every expert file and compared on loading: all weights count.

It is JSON with the model's dtype and settings, and of each tensor of the backbone a digest and four of its weights. A
digest changes with any bit. A file holds the digests of its tensors also in coarser dtypes, so that experts made in
float32 are recognised by the same backbone in bfloat16 or float16. Where two dtypes cannot be compared that way
(float16 and bfloat16), and in files of earlier versions, which have no digests, the four weights are compared.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch

SAMPLES = 4
COARSER = {torch.float32: (torch.bfloat16, torch.float16)}
SETTINGS = ("activation_function", "encoder_attention_heads", "decoder_attention_heads", "scale_embedding")

# Base model -> tensor's name -> what identifies its state, and its digests so far by dtype.
_DIGESTS: WeakKeyDictionary[torch.nn.Module, dict[str, tuple[tuple, dict[torch.dtype, str]]]] = WeakKeyDictionary()


def fingerprint(model) -> str:
    """JSON of the backbone's settings and tensors. Quantised tensors are left out: they say nothing of others.

    Args:
        model: a `DistilWhisperForConditionalGeneration` or `DistilWhisperModel`.
    """
    tensors = dict(_backbone(model))
    digests = {
        name: {_name(dtype): _digest(model, name, tensor, dtype) for dtype in _dtypes(tensor.dtype)}
        for name, tensor in tensors.items()
    }
    return json.dumps(
        {
            "dtype": _name(model.dtype),
            "weights": {name: _samples(tensor) for name, tensor in tensors.items()},
            "digests": digests,
            "settings": {name: getattr(model.config, name) for name in SETTINGS},
        }
    )


def check_fingerprint(path: str, metadata: dict[str, str], model) -> None:
    """Checks that experts were made on this model's backbone, as far as the two precisions allow.

    Args:
        path: the experts' file, for the message.
        metadata: of that file.
        model: as for `fingerprint`.

    Raises:
        ValueError: a setting or a tensor differs; the message names both backbones and what differs.
    """
    try:
        theirs = json.loads(metadata["fingerprint"])
        coarsest = max(torch.finfo(getattr(torch, theirs["dtype"])).eps, torch.finfo(model.dtype).eps)
        both = {name: tensor for name, tensor in _backbone(model) if name in theirs["weights"]}
        if not both:
            raise ValueError("no weight in common")
        missing: frozenset[str] = getattr(model.base_model, "missing_in_checkpoint", frozenset())
        settings, digests = dict(theirs.get("settings", {})), dict(theirs.get("digests", {}))
        different = [name for name, value in settings.items() if getattr(model.config, name, value) != value]
        different += [
            name
            for name, tensor in both.items()
            if name not in missing
            and not _is_same(model, name, tensor, digests.get(name, {}), theirs["weights"][name], coarsest)
        ]
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ValueError(
            f"{path} does not say which backbone it was made on. Expected a file of `save_experts`."
        ) from None
    if different:
        raise ValueError(
            f"{path} was made on another backbone ({metadata.get('base_model')}) than this one "
            f"({model.config.base_model_name_or_path}): {different[0]} differs. Its experts would not work here; load "
            "them on the backbone that they were made on."
        )


def _is_same(model, name: str, tensor: torch.Tensor, digests: dict[str, str], samples: Any, coarsest: float) -> bool:
    """Whether a tensor of the model is that of a file, which has these digests and samples of it."""
    native = next(iter(digests), None)  # the dtype that the tensor had; coarser ones follow
    common = [dtype for dtype in _dtypes(tensor.dtype) if _name(dtype) in digests]
    # Rounding twice is not rounding once, so one of the two tensors must be in the dtype that is compared.
    common = [dtype for dtype in common if dtype == tensor.dtype or _name(dtype) == native]
    if common:
        return _digest(model, name, tensor, common[0]) == digests[_name(common[0])]
    here, there = torch.tensor(_samples(tensor)), torch.tensor(samples)
    # Half precision rounds small weights to multiples of 6e-8 (subnormal numbers).
    exact = coarsest <= torch.finfo(torch.float32).eps
    allowed = torch.zeros(()) if exact else coarsest * there.abs() + 6e-8
    return here.shape == there.shape and bool(((here - there).abs() <= allowed).all())


def _backbone(model) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of the backbone that are there, and in floating point."""
    base: torch.nn.Module = model.base_model
    tensors: dict[str, torch.Tensor] = {**dict(base.named_parameters()), **dict(base.named_buffers())}
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        tensors["proj_out.weight"] = head.weight
    for name in sorted(tensors, key=lambda name: ".fc" not in name):  # experts are made of the feed-forwards
        tensor = tensors[name].detach()
        # Quantisers' tensors are of other types or integers; offloaded ones have no values here.
        is_there = type(tensor) is torch.Tensor and tensor.is_floating_point() and not tensor.is_meta
        if is_there and tensor.numel() and ".experts." not in name:
            yield name, tensor


def _dtypes(native: torch.dtype) -> tuple[torch.dtype, ...]:
    return native, *COARSER.get(native, ())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _samples(tensor: torch.Tensor) -> list[float]:
    flat = tensor.flatten()
    return flat[[(flat.numel() - 1) * sample // (SAMPLES - 1) for sample in range(SAMPLES)]].float().tolist()


def _digest(model, name: str, tensor: torch.Tensor, dtype: torch.dtype) -> str:
    """The digest of a tensor in a dtype. It is computed once, and again if the tensor has changed."""
    # `.data` changes a tensor without a new version: the samples show most of these changes.
    state = (tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device, *_samples(tensor))
    of_model = _DIGESTS.setdefault(model.base_model, {})
    known, digests = of_model.get(name, (None, {}))
    if known != state:
        digests = {}
        of_model[name] = (state, digests)
    if dtype not in digests:
        values = tensor.to("cpu", dtype).contiguous()
        content = hashlib.sha256(str(tuple(values.shape)).encode())
        content.update(values.view(torch.uint8).numpy().data)
        digests[dtype] = content.hexdigest()[:16]
    return digests[dtype]


__all__ = ["check_fingerprint", "fingerprint"]
