"""What a training tells of itself: the loss's parts, how open the gates are, and what each language has had."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator


class TrainingLog:
    """Collects figures from the batches of all processes; every process ends up with the same ones.

    Attributes:
        utterances: by language, how many were learned from over the run so far.
        steps: by language, in how many steps any took part.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.utterances: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self._sums: dict[str, torch.Tensor] = {}  # since the last line, as are the next two
        self._counts: Counter[str] = Counter()
        self._opened: torch.Tensor | int = 0  # open gates, and gates, by language
        self._rows: Counter[int] = Counter()  # of this step, by language token

    def note(self, **values: float | torch.Tensor) -> None:
        """Figures of a batch. Their means go to the next line, so every process notes the same names."""
        for name, value in values.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device)
            self._sums[name] = self._sums.get(name, 0) + value
            self._counts[name] += 1

    def note_languages(self, tokens: Sequence[int], opened: torch.Tensor) -> None:
        """A batch's languages.

        Args:
            tokens: the language token of each row.
            opened: `(languages, 2)`, open gates, and gates in all, of each language of the model.
        """
        self._rows.update(tokens)
        self._opened = self._opened + opened

    def end_step(self, experts: Mapping[int, str]) -> None:
        """
        Args:
            experts: language token -> code.
        """
        rows = self._reduced(torch.tensor([self._rows[token] for token in experts]), "sum")
        for language, count in zip(experts.values(), rows, strict=True):
            if count:
                self.utterances[language] += count
                self.steps[language] += 1
        self._rows.clear()

    def line(self, languages: Sequence[str]) -> dict[str, float]:
        """Means since the last line; expert usage, utterances and steps of each of the model's languages."""
        if not self._sums:
            return {}
        means = torch.stack([total / self._counts[name] for name, total in self._sums.items()])
        line = dict(zip(self._sums, self._reduced(means, "mean"), strict=True))
        if isinstance(self._opened, torch.Tensor):
            counts = self._reduced(self._opened, "sum")
            shares = {code: opened / gates for code, (opened, gates) in zip(languages, counts, strict=True) if gates}
            line |= {f"expert_usage_{language}": share for language, share in shares.items()}
        line |= {f"utterances_{language}": count for language, count in self.utterances.items()}
        line |= {f"steps_{language}": count for language, count in self.steps.items()}
        self._sums.clear()
        self._counts.clear()
        self._opened = 0
        return line

    def _reduced(self, values: torch.Tensor, how: str) -> list:
        return self.accelerator.reduce(values.to(self.accelerator.device), how).tolist()
