"""What the gates of a batch did: which tokens count, how open they are, and keeping them on their budget."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .configuration_distilwhisper import DistilWhisperConfig
from .losses import IGNORED, gate_budget_loss
from .modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperOutput
from .routing_distilwhisper import LanguageGate


@dataclass
class GateReport:
    """The gates of one forward pass with the tokens that count: frames that hold audio and targets that are no padding.

    Attributes:
        gates: by side and layer, `(batch, tokens)`.
        logits: likewise, `G(z)` of eq. 4.3.
        masks: by side, `(batch, tokens)`: real tokens of rows that have an expert.
        language_ids: by side, `(batch,)`.
    """

    gates: dict[tuple[str, int], torch.Tensor]
    logits: dict[tuple[str, int], torch.Tensor]
    masks: dict[str, torch.Tensor]
    language_ids: dict[str, torch.Tensor]

    @classmethod
    def of(cls, outputs: DistilWhisperOutput, attention_mask: torch.Tensor | None, labels: torch.Tensor):
        """
        Args:
            outputs: of a forward pass with `output_gates=True`.
            attention_mask: `(batch, mel frames)`, 1 where there is audio; `None`: everywhere.
            labels: `(batch, tokens)`, -100 where padded.
        """
        report = cls({}, {}, {}, {"encoder": outputs.language_ids, "decoder": outputs.decoder_language_ids})
        for side in ("encoder", "decoder"):
            for index, gates in enumerate(getattr(outputs, f"{side}_gates")):
                report.gates[side, index] = gates
                report.logits[side, index] = getattr(outputs, f"{side}_gate_logits")[index].detach()
        frames = outputs.encoder_last_hidden_state.shape[1]
        if attention_mask is None:
            heard = torch.ones(len(labels), frames, dtype=torch.bool, device=labels.device)
        else:
            heard = attention_mask[:, :: attention_mask.shape[1] // frames].bool()
        real = {"encoder": heard, "decoder": labels != IGNORED}
        for side, ids in report.language_ids.items():
            report.masks[side] = real[side] & (ids >= 0).unsqueeze(1)
        return report

    def layers(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Gates of all layers of both sides, and a mask for each."""
        return list(self.gates.values()), [self.masks[side] for side, _ in self.gates]

    def budget_loss(self, config: DistilWhisperConfig) -> torch.Tensor:
        """The loss of eq. 4.6; where languages have budgets of their own, the mean over tokens of each language's."""
        gates, masks = self.layers()
        if not config.gate_budgets:
            return gate_budget_loss(gates, masks, config.gate_budget)
        total, counted = 0.0, sum(mask.sum() for mask in masks).clamp(min=1)
        for token, language in config.experts_by_token.items():
            rows = (self.language_ids["encoder"] == token).unsqueeze(1)
            own = [mask & rows for mask in masks]
            share = sum(mask.sum() for mask in own) / counted
            total = total + share * gate_budget_loss(gates, own, config.budget_of(language))
        return total

    def counts(self) -> torch.Tensor:
        """Open gates, and gates in all, over real tokens: `(layers, 2)`, layers in the order of `gates`."""
        return self._counts_by_row().sum(dim=0)

    def counts_by_language(self, tokens: Iterable[int]) -> torch.Tensor:
        """Open gates, and gates in all, over real tokens and all layers, of the rows of each of these languages'
        tokens: `(languages, 2)`.
        """
        by_row = self._counts_by_row().sum(dim=1)
        ids = self.language_ids["encoder"]
        return torch.stack([by_row[ids == token].sum(dim=0) for token in tokens])

    def _counts_by_row(self) -> torch.Tensor:
        """Open gates, and gates in all, over real tokens: `(batch, layers, 2)`."""
        masks = [self.masks[side] for side, _ in self.gates]
        opened = [(gate.detach() * mask).sum(dim=1) for gate, mask in zip(self.gates.values(), masks, strict=True)]
        counted = [mask.sum(dim=1) for mask in masks]
        return torch.stack([torch.stack(opened, dim=1), torch.stack(counted, dim=1)], dim=2).float()


@torch.no_grad()
def budget_quantiles(model: DistilWhisperForConditionalGeneration, report: GateReport) -> torch.Tensor:
    """Where each gate's threshold would have to be for this batch to meet the budget.

    Returns:
        `(layers, languages)`: the (1 - budget) quantile of the logits over real tokens, NaN for absent languages.
        Layers are in the order of `model.routed_layers()`, languages in that of `model.config.languages`.
    """
    experts = model.config.experts_by_token
    layers = list(model.routed_layers())
    quantiles = torch.full((len(layers), len(experts)), torch.nan, device=report.masks["decoder"].device)
    for row, (side, index) in enumerate(layers):
        for column, (token, language) in enumerate(experts.items()):
            mask = report.masks[side] & (report.language_ids[side] == token).unsqueeze(1)
            if mask.any():
                logits = report.logits[side, index][mask].float()
                quantiles[row, column] = torch.quantile(logits, 1 - model.config.budget_of(language))
    return quantiles


@torch.no_grad()
def move_thresholds(
    model: DistilWhisperForConditionalGeneration, quantiles: Sequence[torch.Tensor], momentum: float
) -> None:
    """Moves each gate's threshold towards the mean of `budget_quantiles` of a step's batches, over all processes.

    So the budget holds by construction in every layer, and training decides only which tokens take the expert. Call
    it after the backward pass: gradient checkpointing decides a second time there, and must decide alike.

    Args:
        momentum: share of the way, in (0, 1]. A new gate goes all the way at once.
    """
    stacked = torch.stack(list(quantiles))
    known = ~stacked.isnan()
    sums = torch.stack([stacked.nan_to_num().sum(dim=0), known.sum(dim=0).float()])
    total, count = _over_processes(sums)
    for row, layer in enumerate(model.routed_layers().values()):
        for column, language in enumerate(model.config.languages):
            if count[row, column]:
                target = total[row, column] / count[row, column]
                threshold = layer.experts[language].gate.threshold
                threshold.copy_(target if threshold.isinf() else threshold + momentum * (target - threshold))


def open_shares(layers: Iterable[tuple[str, int]], counts: torch.Tensor) -> dict[str, float]:
    """The share of open gates: of "encoder", "decoder" and "all" layers, and of each, as "encoder 0".

    Args:
        layers: sides and numbers of the layers.
        counts: `(layers, 2)`, as `GateReport.counts` gives them, or sums of such.
    """
    groups: dict[str, list[tuple[float, float]]] = {"encoder": [], "decoder": [], "all": []}
    for (side, index), count in zip(layers, counts.tolist(), strict=True):
        groups[f"{side} {index}"] = [count]
        groups[side].append(count)
        groups["all"].append(count)
    sums = {name: [sum(column) for column in zip(*rows, strict=True)] for name, rows in groups.items()}
    return {name: opened / max(gates, 1) for name, (opened, gates) in sums.items()}


@torch.no_grad()
def measure_openness(
    model: DistilWhisperForConditionalGeneration, batches: Iterable[dict[str, torch.Tensor]]
) -> dict[str, float]:
    """The share of real tokens that take the expert at inference, by side and layer, as `open_shares` names them.

    Args:
        batches: as `SpeechCollator` makes them, on the model's device.

    Raises:
        ValueError: the model has no experts.
    """
    if not model.config.languages:
        raise ValueError("The model has no experts, so no gates to measure. Load some with `load_experts`.")
    was_training = model.training
    model.eval()
    layers = list(model.routed_layers())
    totals = torch.zeros(len(layers), 2, dtype=torch.float64)  # on the CPU: not every accelerator has doubles
    for batch in batches:
        report = GateReport.of(model(**batch, output_gates=True), batch.get("attention_mask"), batch["labels"])
        totals += report.counts().cpu()
    model.train(was_training)
    return open_shares(layers, _over_processes(totals.to(model.device, torch.float32)))


@torch.no_grad()
def gates_of_utterance(
    model: DistilWhisperForConditionalGeneration, batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The gates of a batch of one at inference.

    Returns:
        "encoder" `(layers, frames)` and "decoder" `(layers, tokens)`, over real tokens only.

    Raises:
        ValueError: the batch has more rows than one, or the row's language has no expert.
    """
    if len(batch["labels"]) != 1:
        raise ValueError(f"Expected a batch of one utterance, got {len(batch['labels'])}.")
    was_training = model.training
    report = GateReport.of(model.eval()(**batch, output_gates=True), batch.get("attention_mask"), batch["labels"])
    model.train(was_training)
    if not report.masks["decoder"].any():
        raise ValueError(f"The utterance's language has no expert. The model has {model.config.languages}.")
    sides = {}
    for side, mask in report.masks.items():
        sides[side] = torch.stack([gates[mask] for (own, _), gates in report.gates.items() if own == side])
    return sides


def _over_processes(sums: torch.Tensor) -> torch.Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(sums)
    return sums


@contextmanager
def forced_gates(model: DistilWhisperForConditionalGeneration, *, is_open: bool) -> Iterator[None]:
    """Within it, every gate is open (all tokens take the expert), or every gate is shut (plain Whisper)."""
    gates = [module for module in model.modules() if isinstance(module, LanguageGate)]
    before = [gate.threshold.clone() for gate in gates]
    try:
        for gate in gates:
            gate.threshold.fill_(-torch.inf if is_open else torch.inf)
        yield
    finally:
        for gate, threshold in zip(gates, before, strict=True):
            gate.threshold.copy_(threshold)
