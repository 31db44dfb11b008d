"""Figures of a training for its log: parts of the loss, expert usage, and each language's utterances and steps."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator

from ..configuration_distilwhisper import DistilWhisperConfig
from ..evaluation.gates import GateReport, usage_shares


class TrainingLog:
    """Collects figures from the batches of all processes; every process gets the same ones.

    Attributes:
        utterances: by language, the number that the run has learned from so far.
        steps: by language, the number of steps that had any.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.utterances: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self._sums: dict[str, torch.Tensor] = {}  # since the last line, as are the next two
        self._counts: Counter[str] = Counter()
        self._gate_counts: torch.Tensor | int = 0  # `(languages, 2)`: number of open gates and of all gates
        self._rows: Counter[int] = Counter()  # of this step, by language token

    def note(self, **values: float | torch.Tensor) -> None:
        """Figures of a batch. Their means go to the next line, so every process notes the same names."""
        for name, value in values.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device)
            self._sums[name] = self._sums.get(name, 0) + value
            self._counts[name] += 1

    def note_gates(self, report: GateReport, config: DistilWhisperConfig, tokens: Sequence[int]) -> None:
        """Expert usage and languages of a batch.

        Args:
            report: of the batch's gates.
            config: the model's.
            tokens: the language token of each row.
        """
        shares = usage_shares(report.gates, report.counts())
        self.note(encoder_expert_usage=shares["encoder"], decoder_expert_usage=shares["decoder"])
        self._rows.update(tokens)
        self._gate_counts = self._gate_counts + report.counts_by_language(config.experts_by_token)

    def end_step(self, experts: Mapping[int, str]) -> None:
        """Counts the utterances of a step, over all processes.

        Args:
            experts: the code of each language token that has an expert.
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
        if isinstance(self._gate_counts, torch.Tensor):
            counts = self._reduced(self._gate_counts, "sum")
            for language, (opened, total) in zip(languages, counts, strict=True):
                if total:
                    line[f"expert_usage_{language}"] = opened / total
        line |= {f"utterances_{language}": count for language, count in self.utterances.items()}
        line |= {f"steps_{language}": count for language, count in self.steps.items()}
        self._sums.clear()
        self._counts.clear()
        self._gate_counts = 0
        return line

    def _reduced(self, values: torch.Tensor, how: str) -> list:
        return self.accelerator.reduce(values.to(self.accelerator.device), how).tolist()
