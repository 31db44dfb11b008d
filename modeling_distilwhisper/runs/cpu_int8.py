"""A Whisper of any kind with 8-bit matrices, for transcribing on a CPU: PyTorch's dynamic quantisation."""

import warnings

import torch
from torch import nn

from ..expert_layers_distilwhisper import LanguageGate, LowRankLinear

CPU_INT8 = "cpu-int8"  # the name of this precision
SMALLEST = torch.finfo(torch.float32).tiny  # so that a token of zeros is not divided by zero


class Int8Linear(nn.Module):
    """A matrix of 8-bit integers with a scale for each row, for inference on a CPU.

    What it multiplies is rounded to 7 bits of the largest value of its own token, so that no token depends on others.
    PyTorch's kernel has one range for all tokens: they are brought to the range from -1 to 1, and a token that spans it
    is added.

    Args:
        linear: the matrix in float32.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.span: torch.Tensor
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = _packed(linear)
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if linear.bias is None else linear.bias
        span = torch.zeros(1, self.in_features)
        span[0, 0], span[0, 1] = 1, -1
        self.register_buffer("span", span, persistent=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`(..., in)` to `(..., out)`."""
        tokens = states.reshape(-1, self.in_features)
        largest = torch.linalg.vector_norm(tokens, torch.inf, dim=-1, keepdim=True).add_(SMALLEST)
        products = self.packed(torch.cat([tokens / largest, self.span]))[:-1]
        return torch.addcmul(self.bias, products, largest).view(*states.shape[:-1], self.out_features)


def check_cpu_int8(device: torch.device | str) -> None:
    """Refuses a device that is no CPU.

    Raises:
        ValueError: it is another one.
    """
    if torch.device(device).type != "cpu":
        raise ValueError(f"The precision {CPU_INT8} is for a CPU, got the device {device}. Name --device cpu.")


def in_cpu_int8(model: nn.Module) -> nn.Module:
    """Replaces the matrices of a model, in place, by ones of 8-bit integers; the output matrix and full experts too.

    Gates stay as they are, since a hundredth decides there, and so do low ranks and adapters, which are small. The
    model can transcribe, and nothing else: neither train, nor be saved.

    Args:
        model: in float32 on a CPU.

    Returns:
        The model.
    """
    for name, module in list(model.named_modules()):
        parent, _, own_name = name.rpartition(".")
        holder = model.get_submodule(parent)
        is_small = isinstance(holder, LanguageGate | LowRankLinear) or ".lora_" in name
        if isinstance(module, nn.Linear) and not is_small:
            setattr(holder, own_name, Int8Linear(module))
    return model


def _packed(linear: nn.Linear) -> nn.Module:
    """The matrix without its bias, as PyTorch's dynamic quantisation packs it."""
    with warnings.catch_warnings():  # they say that torchao replaces it, whose matrices are slow on CPUs
        warnings.simplefilter("ignore")
        from torch.ao.nn.quantized.dynamic import Linear
        from torch.ao.quantization import per_channel_dynamic_qconfig

        plain = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
        plain.weight = linear.weight
        plain.qconfig = per_channel_dynamic_qconfig  # type: ignore[assignment]
        return Linear.from_float(plain)
