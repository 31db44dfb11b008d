"""Expert usage: the gates of a batch over its real tokens, and the share of these tokens that takes the expert."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..calls_distilwhisper import calls_with
from ..data.collate import SpeechCollator
from ..data.labels import IGNORED
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperOutput
from ..routing_distilwhisper import RoutedFeedForward
from ..runs.numbers import COUNT

if TYPE_CHECKING:
    from datasets import Dataset

SIDES = ("encoder", "decoder")
# What sets the expert usage of a language (`usage_set_by`).
BUDGET, LEARNED, NEW = "the budget", "the gates", "nothing: new gates are open"


@dataclass
class GateReport:
    """The gates of one forward pass, and its real tokens: frames with audio, and target tokens without padding.

    Attributes:
        gates: by side and layer, `(batch, tokens)`.
        logits: by side and layer, `(batch, tokens)`: `G(z)` of eq. 4.3.
        masks: by side, `(batch, tokens)`: the real tokens of rows that have an expert.
        language_ids: by side, `(batch,)`.
    """

    gates: dict[tuple[str, int], torch.Tensor]
    logits: dict[tuple[str, int], torch.Tensor]
    masks: dict[str, torch.Tensor]
    language_ids: dict[str, torch.Tensor]

    @classmethod
    def of(cls, outputs: DistilWhisperOutput, attention_mask: torch.Tensor | None, labels: torch.Tensor):
        """The report of a forward pass.

        Args:
            outputs: of a forward pass with `output_gates=True`.
            attention_mask: `(batch, mel frames)`, 1 where there is audio; `None`: everywhere.
            labels: `(batch, tokens)`, padded with -100.
        """
        assert outputs.language_ids is not None
        assert outputs.decoder_language_ids is not None
        assert outputs.encoder_last_hidden_state is not None
        report = cls({}, {}, {}, {"encoder": outputs.language_ids, "decoder": outputs.decoder_language_ids})
        for side in SIDES:
            for index, gates in enumerate(getattr(outputs, f"{side}_gates")):
                report.gates[side, index] = gates
                report.logits[side, index] = getattr(outputs, f"{side}_gate_logits")[index].detach()
        frames = outputs.encoder_last_hidden_state.shape[1]
        if attention_mask is None:
            has_audio = torch.ones(len(labels), frames, dtype=torch.bool, device=labels.device)
        else:
            has_audio = attention_mask[:, :: attention_mask.shape[1] // frames].bool()
        real = {"encoder": has_audio, "decoder": labels != IGNORED}
        for side, ids in report.language_ids.items():
            report.masks[side] = real[side] & (ids >= 0).unsqueeze(1)
        return report

    def layers(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The gates of all layers of encoder and decoder, and a mask for each."""
        return list(self.gates.values()), [self.masks[side] for side, _ in self.gates]

    def counts(self) -> torch.Tensor:
        """Number of open gates and of all gates, over real tokens: `(layers, 2)`, layers in the order of `gates`."""
        return self._counts_by_row().sum(dim=0)

    def counts_by_language(self, tokens: Iterable[int]) -> torch.Tensor:
        """Number of open gates and of all gates, over real tokens and all layers: `(languages, 2)`.

        Args:
            tokens: the languages' tokens.
        """
        by_row = self._counts_by_row().sum(dim=1)
        ids = self.language_ids["encoder"]
        return torch.stack([by_row[ids == token].sum(dim=0) for token in tokens])

    def _counts_by_row(self) -> torch.Tensor:
        """Number of open gates and of all gates, over real tokens: `(batch, layers, 2)`."""
        masks = [self.masks[side] for side, _ in self.gates]
        opened = [(gate.detach() * mask).sum(dim=1) for gate, mask in zip(self.gates.values(), masks, strict=True)]
        counted = [mask.sum(dim=1) for mask in masks]
        return torch.stack([torch.stack(opened, dim=1), torch.stack(counted, dim=1)], dim=2).float()


def usage_set_by(model: DistilWhisperForConditionalGeneration, language: str) -> str:
    """What sets the expert usage of a language in this model, by the thresholds of its gates.

    Args:
        model: the model.
        language: a language that it has experts for.

    Returns:
        `BUDGET`: the thresholds followed the budget in training (`gate_training="hard"`). On the training data, usage
        is then the budget's by construction, whatever the language, the data or the method.
        `LEARNED`: the thresholds are 0 (`gate_training="soft"`), so usage is what the gates have learned.
        `NEW`: the gates have not been trained.

    Raises:
        ValueError: no expert of this language is loaded.

    Example:
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
        >>> from modeling_distilwhisper.evaluation.gates import usage_set_by
        >>> student = "examples/quickstart/student"
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
        >>> usage_set_by(model, "ca")
        'nothing: new gates are open'
    """
    thresholds = {float(expert.gate.threshold) for expert in model.experts_of(language).values()}
    return {frozenset({-torch.inf}): NEW, frozenset({0.0}): LEARNED}.get(frozenset(thresholds), BUDGET)


def usage_shares(layers: Iterable[tuple[str, int]], counts: torch.Tensor) -> dict[str, float]:
    """The expert usage (share of open gates) of all layers, of each side and of each layer.

    Args:
        layers: side and number of each layer.
        counts: `(layers, 2)`, as `GateReport.counts` returns them, or a sum of several.

    Returns:
        Shares from 0 to 1 by name: "encoder", "decoder", "all", "encoder 0" and so on.

    Example:
        >>> usage_shares([("encoder", 0), ("decoder", 0)], torch.tensor([[30.0, 100.0], [9.0, 10.0]]))["encoder"]
        0.3
    """
    groups: dict[str, list[list[float]]] = {"encoder": [], "decoder": [], "all": []}
    for (side, index), count in zip(layers, counts.tolist(), strict=True):
        groups[f"{side} {index}"] = [count]
        groups[side].append(count)
        groups["all"].append(count)
    # A side without experts has no layers here: no token takes one.
    sums = {name: [sum(column) for column in zip(*(rows or [[0, 0]]), strict=True)] for name, rows in groups.items()}
    return {name: opened / max(gates, 1) for name, (opened, gates) in sums.items()}


def batches_of(
    rows: "Dataset", collate: SpeechCollator, batch_size: int, device: torch.device | str, title: str = "Gates"
) -> Iterator[dict[str, torch.Tensor]]:
    """The rows in batches, as `measure_expert_usage` takes them, with a progress bar.

    Args:
        rows: usable rows (`keep_usable`).
        collate: makes a batch of rows.
        batch_size: rows in a batch; the last batch may have fewer.
        device: where the model is.
        title: of the progress bar.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    COUNT.check("batch_size", batch_size)
    for batch in tqdm(DataLoader(rows, batch_size=batch_size, collate_fn=collate), desc=title):
        yield on_device(batch, device)


def on_device(batch: dict[str, torch.Tensor], device: torch.device | str) -> dict[str, torch.Tensor]:
    """A batch on a device."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


@torch.no_grad()
def measure_expert_usage(
    model: DistilWhisperForConditionalGeneration, batches: Iterable[dict[str, torch.Tensor]]
) -> dict[str, float]:
    """The expert usage at inference: the share of real tokens that takes the expert (section 5.5).

    Where several processes run together, each one calls it with batches of its own rows, and all get the usage of all.

    Args:
        model: a model with experts of the batches' languages. Rows of other languages do not count.
        batches: as `SpeechCollator` makes them, on the model's device (`batches_of`).

    Returns:
        Shares from 0 to 1 by name: "encoder", "decoder", "all", "encoder 0" and so on.

    Raises:
        ValueError: the model has no experts.

    Example:
        >>> from transformers import WhisperProcessor
        >>> from modeling_distilwhisper import (
        ...     DistilWhisperForConditionalGeneration, SpeechCollator, measure_expert_usage, read_folder,
        ... )
        >>> student = "examples/quickstart/student"
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"], dtype="float32")
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test").select(range(2))
        >>> batch = SpeechCollator(WhisperProcessor.from_pretrained(student))(list(rows))
        >>> measure_expert_usage(model, [batch])["all"]  # the gates of new experts are open
        1.0
    """
    if not model.config.languages:
        raise ValueError("The model has no experts, so no gates to measure. Load some with `load_experts`.")
    was_training = model.training
    model.eval()
    layers = list(model.routed_layers())
    totals = torch.zeros(len(layers), 2, dtype=torch.float64, device="cpu")  # not every accelerator has doubles
    for batch in batches:
        report = GateReport.of(model(**batch, output_gates=True), batch.get("attention_mask"), batch["labels"])
        totals += report.counts().cpu()
    model.train(was_training)
    return usage_shares(layers, sum_over_processes(totals, model.device))


@torch.no_grad()
def gates_of_utterance(
    model: DistilWhisperForConditionalGeneration, batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The gates of a batch of one utterance at inference.

    Args:
        model: the model.
        batch: as `SpeechCollator` makes it, on the model's device.

    Returns:
        "encoder" `(layers, frames)` and "decoder" `(layers, tokens)`, over real tokens only.

    Raises:
        ValueError: the batch has more than one row, or the row's language has no expert.
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
        gates_of_side = [gates[mask] for (of_side, _), gates in report.gates.items() if of_side == side]
        if not gates_of_side:  # a side without experts
            layers = getattr(model.config, f"{side}_layers")
            gates_of_side = [torch.zeros(int(mask.sum()), device=mask.device)] * layers
        sides[side] = torch.stack(gates_of_side)
    return sides


def sum_over_processes(values: torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
    """The sum of a tensor over all processes; the tensor itself if there is one process.

    Args:
        values: of this process.
        device: where processes exchange tensors. Default: where this one is.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        values = values.to(device or values.device, copy=True)
        torch.distributed.all_reduce(values)
    return values


@contextmanager
def forced_gates(model: DistilWhisperForConditionalGeneration, *, is_open: bool) -> Iterator[None]:
    """Within it, every gate is open (all tokens take the expert), or every gate is closed (plain Whisper).

    It holds for calls of the thread, or asynchronous task, that entered it. Calls of other threads decide as trained.
    Compiled models run without compilation meanwhile.

    Args:
        model: the model, also inside a wrapper.
        is_open: whether gates are open.

    Example:
        >>> import torch
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, forced_gates
        >>> model = DistilWhisperForConditionalGeneration.from_whisper("examples/quickstart/student", languages=["ca"])
        >>> features = torch.zeros(1, 80, 300, dtype=model.dtype)
        >>> start, ca, transcribe = 701, 713, 803
        >>> prompt = torch.tensor([[start, ca, transcribe]])
        >>> with forced_gates(model, is_open=False):
        ...     model(features, decoder_input_ids=prompt, output_gates=True).decoder_gates[0].tolist()
        [[0.0, 0.0, 0.0]]
        >>> model(features, decoder_input_ids=prompt, output_gates=True).decoder_gates[0].tolist()
        [[1.0, 1.0, 1.0]]
    """
    layers = [module for module in model.modules() if isinstance(module, RoutedFeedForward)]
    with calls_with(gates=dict.fromkeys(layers, is_open)), _EAGERLY:
        yield


class _Eagerly:
    """Runs compiled models without compilation while any thread is inside: compilers cannot read context variables."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._stance: AbstractContextManager | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._stance = torch.compiler.set_stance("force_eager")
                self._stance.__enter__()
            self._inside += 1

    def __exit__(self, *error) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._stance is not None:
                self._stance.__exit__(*error)


_EAGERLY = _Eagerly()
