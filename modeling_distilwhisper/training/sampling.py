"""Which rows an epoch is made of, where languages have very different numbers of them."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class LanguageSampler(Sampler[int]):
    """Draws rows so that language l is drawn in proportion to `n_l ** (1 / temperature)`, n_l being its rows.

    Temperature 1 takes each row once an epoch. Above it, languages with few rows are repeated, and those with many take
    part in turn; towards infinity all languages have the same share. An epoch is as long as the data.

    Args:
        languages: the language of each row.
        temperature: 1 or more.
        seed: of the order. It is another one each epoch, and the same one whenever the epoch is drawn again.
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
        """How many rows of each language an epoch has: at least one, and as many in all as there are rows."""
        weights = {language: len(rows) ** (1 / self.temperature) for language, rows in self.rows.items()}
        exact = {language: len(self) * weight / sum(weights.values()) for language, weight in weights.items()}
        shares = {language: max(1, int(share)) for language, share in exact.items()}
        order = sorted(exact, key=lambda language: shares[language] - exact[language])  # most lacking first
        for number in range(len(self) - sum(shares.values())):
            shares[order[number % len(order)]] += 1
        while sum(shares.values()) > len(self):  # more than one each was promised: those with most give
            shares[max(shares, key=shares.get)] -= 1
        return shares

    def __iter__(self) -> Iterator[int]:
        drawn: list[int] = []
        for number, (language, share) in enumerate(self.shares().items()):
            rows, taken = self.rows[language], 0
            # Pass after pass over the language's rows, going on in this epoch where the last one stopped.
            start = self.epoch * share
            while taken < share:
                at, offset = divmod(start + taken, len(rows))
                order = torch.randperm(len(rows), generator=_generator(self.seed, number, at)).tolist()
                part = order[offset : offset + share - taken]
                drawn += [rows[index] for index in part]
                taken += len(part)
        order = torch.randperm(len(drawn), generator=_generator(self.seed, len(self.rows), self.epoch)).tolist()
        return iter([drawn[index] for index in order])


def _generator(*numbers: int) -> torch.Generator:
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number) % 2**63
    return torch.Generator().manual_seed(seed)
