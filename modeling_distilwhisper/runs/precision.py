"""The precision in which a model's weights are loaded: float32, half precision, or quantised."""

from typing import Any

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

from ..workarounds import silence_cast_messages
from .cpu_int8 import CPU_INT8
from .extras import require

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "nf4", "torchao-int8")
TRANSCRIBING = (*PRECISIONS, CPU_INT8)  # where a model only transcribes (`load_model`)
QUANTISED = ("int8", "nf4", "torchao-int8")
# Not quantised: the output matrix, which is the embedding too; and experts with their gates, where a hundredth in a
# logit decides. Patterns, as `should_convert_module` of Transformers reads them: a bare "experts" would match none.
NOT_QUANTISED = ["proj_out", r".*\.experts"]


def precision_settings(precision: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The keyword arguments of `from_pretrained` that load a Whisper of any kind in a precision, for a device.

    Args:
        precision: one of `PRECISIONS`. "auto" is float32 on a CPU, elsewhere the precision of the files. "int8" is
            LLM.int8() (Dettmers et al., 2022; the report's section 2.3), "nf4" 4-bit NormalFloat, both by bitsandbytes;
            "torchao-int8" is weights of 8 bits by torchao. Language experts, gates and the output matrix are never
            quantised.
        device: where the model will be; quantised models are loaded onto it and cannot be moved.

    Raises:
        ValueError: an unknown precision.
        ImportError: the library of a quantised precision is missing; the message says how to get it.

    Example:
        >>> precision_settings("auto"), precision_settings("bfloat16")
        ({'dtype': torch.float32}, {'dtype': torch.bfloat16})
    """
    if precision not in PRECISIONS:
        raise ValueError(f"The precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    on_cpu = torch.device(device).type == "cpu"
    if precision == "auto":
        return {"dtype": torch.float32 if on_cpu else "auto"}  # files may be in half precision, which is slow on a CPU
    if precision not in QUANTISED:
        return {"dtype": getattr(torch, precision)}
    dtype = torch.float32 if on_cpu else torch.float16
    return {"dtype": dtype, "quantization_config": _quantisation(precision, dtype), "device_map": {"": device}}


def _quantisation(precision: str, dtype: torch.dtype) -> BitsAndBytesConfig | TorchAoConfig:
    if precision == "torchao-int8":
        require("torchao")
        from torchao.quantization import Int8WeightOnlyConfig  # an extra

        return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=NOT_QUANTISED)
    require("bitsandbytes")  # without it Transformers' message is longer
    silence_cast_messages()
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=NOT_QUANTISED)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=NOT_QUANTISED,
    )
