"""In which precision a model's weights are loaded: whole, half, or quantised."""

import logging
from typing import Any

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "nf4", "torchao-int8")
QUANTISED = ("int8", "nf4", "torchao-int8")
# What stays whole: the output matrix, which is the embedding too, and experts with their gates, a hundredth of whose
# logit decides. Patterns, as `should_convert_module` of Transformers reads them: a bare "experts" would match none.
WHOLE = ["proj_out", r".*\.experts"]


def precision_settings(precision: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The keyword arguments of `from_pretrained` that load a Whisper of any kind in a precision, for a device.

    Args:
        precision: one of `PRECISIONS`. "auto" is float32 on a CPU, elsewhere what the weights are stored in. "int8" is
            LLM.int8() (Dettmers et al., 2022; the report's section 2.3), "nf4" 4-bit NormalFloat, both by bitsandbytes,
            and "torchao-int8" weights of 8 bits by torchao. Of quantised models language experts, gates and the output
            matrix stay whole.
        device: where the model will be; quantised ones are loaded to it and cannot be moved.

    Raises:
        ValueError: an unknown precision.
        ImportError: the library of a quantised precision is missing; the message says how to get it.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"The precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    on_cpu = torch.device(device).type == "cpu"
    if precision == "auto":
        return {"dtype": torch.float32 if on_cpu else "auto"}  # half precision, as it may be stored, is slow on a CPU
    if precision not in QUANTISED:
        return {"dtype": getattr(torch, precision)}
    dtype = torch.float32 if on_cpu else torch.float16
    return {"dtype": dtype, "quantization_config": _quantisation(precision, dtype), "device_map": {"": device}}


def _quantisation(precision: str, dtype: torch.dtype) -> BitsAndBytesConfig | TorchAoConfig:
    try:
        if precision == "torchao-int8":
            from torchao.quantization import Int8WeightOnlyConfig  # an extra

            return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=WHOLE)
        import bitsandbytes as _needed  # noqa: F401 (an extra; or the model would fail to load with less of a message)
    except ImportError as error:
        raise ImportError(f'{precision} needs {error.name}: pip install "modeling_distilwhisper[quantised]"') from None
    # It says at every call of every layer that inputs are cast.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    bits = {"load_in_8bit": True} if precision == "int8" else nf4
    return BitsAndBytesConfig(**bits, llm_int8_skip_modules=WHOLE)
