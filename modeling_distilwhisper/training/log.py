"""Figures of a training for its log: parts of the loss, expert usage, and each language's utterances and steps."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator

from ..configuration_distilwhisper import DistilWhisperConfig
from ..data.labels import IGNORED
from ..evaluation.gates import GateReport, usage_shares


class TrainingLog:
    """Collects figures from the batches of all processes; every process gets the same ones.

    Attributes:
        utterances: by language, the number that the run has learned from so far.
        steps: by language, the number of steps that had any.
        skipped_steps: the number of steps whose loss or gradient was not finite. Nothing else counts them.
        seconds_before: how long earlier starts trained until the checkpoint that this one resumed from; `None` where
            the checkpoint does not say.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.utterances: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.skipped_steps = 0
        self.seconds_before: float | None = 0.0
        self._started = time.perf_counter()
        self._noted: list[tuple[str, torch.Tensor, int]] = []  # of this step: name, figure, count
        self._sums: dict[str, float] = {}  # of each step's mean, since the last line, as are the next two
        self._counts: Counter[str] = Counter()
        self._gate_counts: torch.Tensor | int = 0  # `(languages, 2)`: number of open gates and of all gates
        self._step_gate_counts: torch.Tensor | int = 0
        self._rows: Counter[int] = Counter()  # of this step, by language token

    def start_clock(self) -> None:
        """Counts the seconds of training from now on."""
        self.seconds_before, self._started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float | None:
        """How long the training took so far, over all starts; `None` where an earlier start did not say.

        What an interruption lost, the steps after the checkpoint, does not count.
        """
        passed = time.perf_counter() - self._started
        return None if self.seconds_before is None else self.seconds_before + passed

    def note(self, *, count: int = 1, **values: float | torch.Tensor) -> None:
        """Figures of a batch. Every process notes the same names; the next line has the mean over steps of their means.

        Args:
            count: 0 for a batch that is not to be in the means.
            values: the figures, by name.
        """
        for name, value in values.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device)
            self._noted.append((name, value, count))

    def note_gates(self, report: GateReport, config: DistilWhisperConfig, tokens: Sequence[int]) -> None:
        """Expert usage and languages of a batch.

        Args:
            report: of the batch's gates.
            config: the model's.
            tokens: the first label of each row: its language token, or -100 for a row that does not count.
        """
        shares = usage_shares(report.gates, report.counts())
        has_rows = any(token != IGNORED for token in tokens)
        self.note(count=int(has_rows), encoder_expert_usage=shares["encoder"], decoder_expert_usage=shares["decoder"])
        self._rows.update(tokens)
        self._step_gate_counts = self._step_gate_counts + report.counts_by_language(config.experts_by_token)

    def end_step(self, experts: Mapping[int, str], *, is_taken: bool = True) -> None:
        """Adds a step's figures to the next line, and counts its utterances, over all processes.

        Args:
            experts: the code of each language token that has an expert.
            is_taken: whether the step is taken. One that is skipped leaves no figure.
        """
        if is_taken:
            self._add_step(experts)
        self._noted.clear()
        self._step_gate_counts = 0
        self._rows.clear()

    def _add_step(self, experts: Mapping[int, str]) -> None:
        names = list(dict.fromkeys(name for name, _, _ in self._noted))
        sums = torch.zeros(2, len(names), device=self.accelerator.device)  # of the figures, and of their counts
        for name, value, count in self._noted:
            sums[:, names.index(name)] += torch.stack([value * count, torch.full_like(value, count)])
        rows = torch.tensor([float(self._rows[token]) for token in experts], device=sums.device)
        reduced = self._reduced(torch.cat([rows, sums.flatten()]), "sum")
        for language, row_count in zip(experts.values(), reduced, strict=False):
            if row_count:
                self.utterances[language] += int(row_count)
                self.steps[language] += 1
        totals, counts = reduced[len(experts) :][: len(names)], reduced[len(experts) + len(names) :]
        for name, total, count in zip(names, totals, counts, strict=True):
            if count:
                self._sums[name] = self._sums.get(name, 0.0) + total / count
                self._counts[name] += 1
        self._gate_counts = self._gate_counts + self._step_gate_counts

    def line(self, languages: Sequence[str]) -> dict[str, float]:
        """Means since the last line; expert usage, utterances and steps of each of the model's languages."""
        if not self._sums:
            return {}
        line = {name: total / self._counts[name] for name, total in self._sums.items()}
        if isinstance(self._gate_counts, torch.Tensor):
            gates = self._reduced(self._gate_counts, "sum")
            for language, (opened, total) in zip(languages, gates, strict=True):
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
