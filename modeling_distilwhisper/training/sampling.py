"""The rows of an epoch, where languages have very different numbers of rows; and whether rows have weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler


class LanguageSampler(Sampler[int]):
    """Draws rows so that language l has a share proportional to `n_l ** (1 / temperature)`, n_l being its rows.

    At temperature 1, each row is drawn once per epoch. Above, rows of languages with few of them are repeated, and rows
    of the others are drawn in some epochs only; towards infinity all languages have the same share. An epoch has as
    many rows as the data.

    Args:
        languages: the language of each row.
        temperature: 1 or more.
        seed: of the order, which differs from epoch to epoch. The same epoch always has the same order.
    """

    def __init__(self, languages: Sequence[str], temperature: float, seed: int):
        self.rows: dict[str, list[int]] = {}
        for row, language in enumerate(languages):
            self.rows.setdefault(language, []).append(row)
        self.temperature, self.seed, self.epoch = temperature, seed, 0

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def shares(self) -> dict[str, int]:
        """Rows of each language in an epoch: at least one each, and together as many as the data has."""
        weights = {language: len(rows) ** (1 / self.temperature) for language, rows in self.rows.items()}
        exact = {language: len(self) * weight / sum(weights.values()) for language, weight in weights.items()}
        shares = {language: max(1, int(share)) for language, share in exact.items()}
        order = sorted(exact, key=lambda language: shares[language] - exact[language])  # largest shortfall first
        for number in range(len(self) - sum(shares.values())):
            shares[order[number % len(order)]] += 1
        while sum(shares.values()) > len(self):  # since each has at least one: take from the largest
            shares[max(shares, key=lambda language: shares[language])] -= 1
        return shares

    def __iter__(self) -> Iterator[int]:
        drawn: list[int] = []
        for number, (language, share) in enumerate(self.shares().items()):
            rows, taken = self.rows[language], 0
            # The language's rows in one shuffled order after another; this epoch continues where the last one stopped.
            start = self.epoch * share
            while taken < share:
                at, offset = divmod(start + taken, len(rows))
                order = torch.randperm(len(rows), generator=_generator(self.seed, number, at)).tolist()
                part = order[offset : offset + share - taken]
                drawn += [rows[index] for index in part]
                taken += len(part)
        order = torch.randperm(len(drawn), generator=_generator(self.seed, len(self.rows), self.epoch)).tolist()
        return iter([drawn[index] for index in order])


def has_weights(rows: Any) -> bool:
    """Whether some rows of a training may have another `loss_weight` than 1: only then do the losses count by them.

    Of data without columns, or without a length, each batch shows whether its rows have weights.
    """
    columns = getattr(rows, "column_names", None)
    if columns is None or not hasattr(rows, "__len__"):
        return True
    return "loss_weight" in columns and any(weight != 1 for weight in rows["loss_weight"][:])


def _generator(*numbers: int) -> torch.Generator:
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number) % 2**63
    return torch.Generator().manual_seed(seed)
