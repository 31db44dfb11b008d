"""What the gates of a batch did: which tokens count, how open they are, and keeping them on their budget."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..data.labels import IGNORED
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperOutput
from ..routing_distilwhisper import LanguageGate


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


def usage_shares(layers: Iterable[tuple[str, int]], counts: torch.Tensor) -> dict[str, float]:
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
def measure_expert_usage(
    model: DistilWhisperForConditionalGeneration, batches: Iterable[dict[str, torch.Tensor]]
) -> dict[str, float]:
    """The share of real tokens that take the expert at inference, by side and layer, as `usage_shares` names them.

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
    return usage_shares(layers, over_processes(totals.to(model.device, torch.float32)))


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


def over_processes(sums: torch.Tensor) -> torch.Tensor:
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
