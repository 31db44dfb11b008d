"""Records of the gates of a forward pass, layer by layer (for `output_gates`)."""

from typing import Any

import torch

# Which rows of a batch: an index tensor, a boolean mask `(batch,)` while compiling, or `None` for all rows.
Rows = torch.Tensor | None


class GateRecord:
    """The gates of every layer in one pass through an encoder or a decoder.

    Attributes:
        gates: layer index -> gate values `(batch, tokens)`, 0 in rows without an expert. In training they are the
            values that the budget counts: before skipping, with a gradient.
        logits: layer index -> `G(z)` of eq. 4.3, `(batch, tokens)`, minus infinity in rows without an expert.
    """

    def __init__(self) -> None:
        self.gates: dict[int, torch.Tensor] = {}
        self.logits: dict[int, torch.Tensor] = {}

    def start_layer(self, index: int, states: torch.Tensor) -> None:
        """Enters a layer without any expert yet.

        An earlier entry is overwritten: gradient checkpointing runs a layer twice.
        """
        self.gates[index] = states.new_zeros(states.shape[:2])
        self.logits[index] = torch.full_like(self.gates[index], -torch.inf)

    def write(self, index: int, rows: Rows, gates: torch.Tensor, logits: torch.Tensor) -> None:
        """Enters gates and logits, both `(rows, tokens)`, of some rows of a layer."""
        self.gates[index] = replace_rows(self.gates[index], rows, gates)
        self.logits[index] = replace_rows(self.logits[index], rows, logits)

    def in_order(self) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Gates and logits, a tensor for each layer, first layer first."""
        layers = sorted(self.gates)
        return tuple(self.gates[index] for index in layers), tuple(self.logits[index] for index in layers)


class GateRecords:
    """The gate records of a model's encoder and decoder. The layers write into it if it is passed as `gate_records`."""

    def __init__(self) -> None:
        self.encoder = GateRecord()
        self.decoder = GateRecord()


def replace_rows(tensor: torch.Tensor, rows: Rows, values: torch.Tensor) -> torch.Tensor:
    """A tensor `(batch, ...)` with new values in some rows.

    Args:
        tensor: the old values.
        rows: which rows are replaced.
        values: `(rows, ...)`; or `(batch, ...)` if `rows` is a mask.
    """
    values = values.to(tensor.dtype)
    if rows is None:
        return values
    if rows.dtype == torch.bool:
        return torch.where(rows.view(-1, *[1] * (tensor.dim() - 1)), values, tensor)
    return tensor.index_copy(0, rows, values)


def count_numbers(numbers: torch.Tensor, end: int) -> list[int]:
    """How often each of 0, 1, ... below `end` occurs. An accelerator is waited for once: its `bincount` waits too."""
    if numbers.device.type == "cpu":
        return torch.bincount(numbers.view(-1), minlength=end).tolist()
    return (numbers.view(-1, 1) == torch.arange(end, device=numbers.device)).sum(dim=0).tolist()


def move_rows(rows: Any, device: torch.device) -> Any:
    """Rows of a batch on a device. CUDA takes them from the CPU before the call returns, without a wait."""
    if rows is None:
        return None
    return rows.to(device, non_blocking=rows.device.type == "cpu" and device.type == "cuda")


__all__ = ["GateRecord", "GateRecords", "count_numbers", "move_rows", "replace_rows"]
