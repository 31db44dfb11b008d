"""What the gates of a pass decided, written down layer by layer for those who ask (`output_gates`)."""

from dataclasses import dataclass, field

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
        """Enters a layer without any expert yet. An earlier entry goes: gradient checkpointing runs a layer twice."""
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


@dataclass
class GateRecords:
    """The gate records of a whole model: pass it as `gate_records`, and the layers write into it."""

    encoder: GateRecord = field(default_factory=GateRecord)
    decoder: GateRecord = field(default_factory=GateRecord)


def replace_rows(whole: torch.Tensor, rows: Rows, values: torch.Tensor) -> torch.Tensor:
    """`whole`, `(batch, ...)`, with `values` in these rows: of those rows alone, or of all where `rows` is a mask."""
    values = values.to(whole.dtype)
    if rows is None:
        return values
    if rows.dtype == torch.bool:
        return torch.where(rows.view(-1, *[1] * (whole.dim() - 1)), values, whole)
    return whole.index_copy(0, rows, values)


__all__ = ["GateRecord", "GateRecords", "replace_rows"]
