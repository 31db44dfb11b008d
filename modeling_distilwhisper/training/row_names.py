"""The names of a batch's rows, which a message needs when something is wrong with the batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

KEY = ("data_set", "split", "language", "id")  # the columns that tell a row from all others
ROW_NAMES = "row_names"


@dataclass
class NamedRows:
    """Adds the rows' names to the batches of a collator, as `(batch, bytes)`: a batch has tensors only."""

    collate: Callable[[list], dict[str, torch.Tensor]]

    def __call__(self, rows: list) -> dict[str, torch.Tensor]:
        names = [torch.tensor([*row_name(row).encode()], dtype=torch.uint8) for row in rows]
        return {**self.collate(rows), ROW_NAMES: torch.nn.utils.rnn.pad_sequence(names, batch_first=True)}


def row_name(row) -> str:
    """Corpus, split, language and id of a reader's row, as far as it has them."""
    parts = [row.get(name) for name in KEY] if isinstance(row, Mapping) else []
    return " ".join(str(part) for part in parts if part)


def names_of(encoded: torch.Tensor | None) -> list[str]:
    """The names of a batch's rows, from its tensor `row_names`."""
    if encoded is None:
        return []
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in encoded.tolist()]
