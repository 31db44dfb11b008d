"""Gate, expert and routed feed-forward: which path each token takes through a layer (section 4.1). Tensor code only."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from .configuration_distilwhisper import DistilWhisperConfig

FEW_TOKENS, BLOCKS = 8, 8  # see `multiply`


@dataclass
class Routing:
    """What every layer of one encoder or decoder pass needs to route a batch.

    Attributes:
        rows: for each language present, the rows that take its experts: an index tensor, or `None` for all rows.
            While compiling, where which rows it is cannot be looked at, a boolean mask of shape `(batch,)`.
        noise: the scale alpha(t) of the noise in soft training gates (eq. 4.2).
        record: filled by the layers, if not `None`: layer index -> `(gates, logits)`, each `(batch, tokens)`.
    """

    rows: dict[str, torch.Tensor | None]
    noise: float = 0.0
    record: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None

    @classmethod
    def of(cls, language_ids: torch.Tensor, experts: dict[int, str], **settings) -> "Routing | None":
        """The routing of rows with these ids, or `None` where no row has an expert.

        Args:
            language_ids: `(batch,)`, the id of each row's language token, -1 for none.
            experts: language token id -> language code, of the loaded experts.
        """
        if torch.compiler.is_compiling():
            return cls({code: language_ids == token for token, code in experts.items()}, **settings)
        ids = language_ids.tolist()
        rows = {}
        for token in dict.fromkeys(ids):
            if token in experts:
                own = [row for row, other in enumerate(ids) if other == token]
                rows[experts[token]] = None if len(own) == len(ids) else torch.tensor(own, device=language_ids.device)
        return cls(rows, **settings) if rows else None

    def on(self, device: torch.device) -> list[tuple[str, torch.Tensor | None]]:
        """Languages and their rows, on the device of a layer. They stay there: the next layer seldom is elsewhere."""
        self.rows = {language: None if rows is None else rows.to(device) for language, rows in self.rows.items()}
        return list(self.rows.items())


class LanguageGate(nn.Module):
    """Scores each token: `G(z) = relu(z W1 + b1) w2` (eq. 4.3). It is open where `G` reaches the threshold (eq. 4.4).

    The report's threshold is 0. In hard training it follows the budget's quantile of `G` instead; until it was set
    it is minus infinity, so that a new gate is open for every token.
    """

    def __init__(self, config: DistilWhisperConfig):
        super().__init__()
        self.hidden = nn.Linear(config.d_model, config.gate_dim)
        self.score = nn.Linear(config.gate_dim, 1, bias=False)
        self.dropout = nn.Dropout(config.gate_dropout)
        self.register_buffer("threshold", torch.tensor(0.0 if config.gate_training == "soft" else -torch.inf))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`(batch, tokens, d_model)` to gate logits `(batch, tokens)`."""
        return self.score(torch.relu(self.hidden(self.dropout(states)))).squeeze(-1)

    def at_inference(self, states: torch.Tensor) -> torch.Tensor:
        """The same without calls of submodules, which cost a decoding step more than what eight gates compute."""
        inner, score = self.hidden, self.score
        if not (_is_whole(inner) and _is_whole(score) and inner.weight.device == states.device):
            return self(states)
        return nn.functional.linear(nn.functional.linear(states, inner.weight, inner.bias).relu_(), score.weight)[
            ..., 0
        ]

    def is_open(self, logits: torch.Tensor) -> torch.Tensor:
        return logits >= self.threshold


class FullLinear(nn.Linear):
    """An expert's own copy of a shared matrix."""

    builds_on_shared = False

    def forward(
        self, states: torch.Tensor, shared: nn.Linear | None = None, from_shared: torch.Tensor | None = None
    ) -> torch.Tensor:
        return super().forward(states)

    def copy_shared(self, shared: nn.Linear) -> None:
        self.weight.data.copy_(dense_weight(shared))
        self.bias.data.copy_(shared.bias)

    def whole(self, shared: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the expert's matrix, written out."""
        return self.weight, self.bias


class LowRankLinear(nn.Module):
    """An expert's difference from a shared matrix: weight = shared + up @ down, bias = shared + that of `up`.

    `up` starts at zero.
    """

    builds_on_shared = True

    def __init__(self, in_features: int, out_features: int, rank: int):
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features)

    def forward(self, states: torch.Tensor, shared: nn.Linear, from_shared: torch.Tensor | None = None) -> torch.Tensor:
        return (shared(states) if from_shared is None else from_shared) + self.difference(states)

    def difference(self, states: torch.Tensor) -> torch.Tensor:
        """By how much the output is another than the shared matrix's."""
        return self.up(self.down(states))

    def copy_shared(self, shared: nn.Linear) -> None:
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def whole(self, shared: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the expert's matrix, written out."""
        return dense_weight(shared) + self.up.weight @ self.down.weight, shared.bias + self.up.bias


def multiply(linear: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """`linear(states)`, `(tokens, in)` to `(tokens, out)`; of few tokens on a CPU, computed in another order.

    The same numbers but for rounding. What a decoding step costs is reading its matrices. MKL gives one token to one
    thread alone, unless it is asked for blocks of the matrix; and 2 to 5 tokens it reads up to twice as fast as
    `weight @ states.T` (both measured with AVX2, float32).
    """
    on_cpu = states.device.type == linear.weight.device.type == "cpu" and states.dtype == torch.float32
    if not on_cpu or len(states) > FEW_TOKENS or not _is_whole(linear):
        return linear(states)
    if len(states) == 1 and linear.out_features % BLOCKS == 0:
        blocks = linear.weight.unflatten(0, (BLOCKS, -1)).mT
        return torch.bmm(states.expand(BLOCKS, 1, -1), blocks).view(1, -1) + linear.bias
    return (linear.weight @ states.T).T.contiguous() + linear.bias


def _is_whole(linear: nn.Linear) -> bool:
    """Whether a layer's matrix is what it multiplies by: not quantised, nor with an adapter."""
    return type(linear) in (nn.Linear, FullLinear) and type(linear.weight.data) is torch.Tensor


@torch.no_grad()
def dense_weight(linear: nn.Linear) -> torch.Tensor:
    """The matrix `(out, in)` that a layer multiplies by; of a quantised one, what it makes of the unit vectors."""
    if _is_whole(linear):
        return linear.weight
    units = torch.eye(linear.in_features, device=linear.bias.device, dtype=linear.bias.dtype)
    was_training = linear.training
    linear.train()  # or bitsandbytes would quantise the unit vectors too, or pack its weights for inference
    weight = (linear(units) - linear.bias).T
    linear.train(was_training)
    return weight


class LanguageExpert(nn.Module):
    """One language's feed-forward and gate in one layer. It starts as a copy of the shared feed-forward."""

    def __init__(self, config: DistilWhisperConfig, ffn_dim: int):
        super().__init__()
        if config.expert_rank:
            self.fc1 = LowRankLinear(config.d_model, ffn_dim, config.expert_rank)
            self.fc2 = LowRankLinear(ffn_dim, config.d_model, config.expert_rank)
        else:
            self.fc1 = FullLinear(config.d_model, ffn_dim)
            self.fc2 = FullLinear(ffn_dim, config.d_model)
        self.gate = LanguageGate(config)
        self.dropout = nn.Dropout(config.expert_dropout)

    def forward(
        self, states: torch.Tensor, layer: "RoutedFeedForward", hidden: torch.Tensor | None = None
    ) -> torch.Tensor:
        """`(..., d_model)` to `(..., d_model)`, with `layer`'s activation and, for low ranks, its shared matrices.

        Args:
            hidden: `layer.fc1(states)`, `(..., ffn_dim)`, where it is there already: low ranks build on it.
        """
        hidden = layer.activation_fn(self.fc1(states, layer.fc1, hidden))
        return self.dropout(self.fc2(hidden, layer.fc2))


class RoutedFeedForward:
    """Mixed into a Whisper layer: its feed-forward becomes the shared path beside language experts.

    The layer provides `fc1`, `fc2`, `activation_fn` and its dropouts, all Whisper's.
    """

    def init_experts(self, config: DistilWhisperConfig, ffn_dim: int, layer_idx: int) -> None:
        self.routing_config = config
        self.expert_ffn_dim = ffn_dim
        self.layer_idx = layer_idx
        self.experts = nn.ModuleDict({language: LanguageExpert(config, ffn_dim) for language in config.languages})

    def shared(self, states: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Whisper's own feed-forward, dropouts included: `(..., d_model)` to `(..., d_model)`.

        Args:
            hidden: `fc1(states)`, `(..., ffn_dim)`, where it is there already.
        """
        hidden = self.activation_fn(self.fc1(states) if hidden is None else hidden)
        hidden = nn.functional.dropout(hidden, p=self.activation_dropout, training=self.training)
        return nn.functional.dropout(self.fc2(hidden), p=self.dropout, training=self.training)

    def feed_forward(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """`g(z) expert(z) + (1 - g(z)) shared(z)` (eq. 4.1): `(batch, tokens, d_model)` to the same shape."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self._blend(states, routing)
        if not self.training:
            # An accelerator's few tokens cost less on both paths than waiting to hear which one they take.
            wait = states.device.type == "cpu" or states.shape[1] > 1
            return self._dispatch(states, routing) if wait else self._blend(states, routing)
        if self.routing_config.gate_training == "hard":
            return self._dispatch_in_training(states, routing)
        return self._blend(states, routing)

    def _dispatch(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Every token through one feed-forward only: the expert's where its gate is open, else the shared one."""
        # Low ranks first, so that their tokens are neighbours of the shared path's.
        present = sorted(routing.on(states.device), key=lambda own: not self.experts[own[0]].fc1.builds_on_shared)
        experts = [self.experts[language] for language, _ in present]
        recorded = _new_record(states, routing)
        path = self._choose(states, [expert.gate for expert in experts], [rows for _, rows in present], recorded)
        _keep(routing, self.layer_idx, recorded)

        counts = torch.bincount(path.view(-1), minlength=1 + len(experts)).tolist()
        if (most := max(counts)) == path.numel():
            only = counts.index(most)
            return experts[only - 1](states, self) if only else self.shared(states)
        order = path.view(-1).argsort(stable=True)
        tokens = states.reshape(-1, states.shape[-1]).index_select(0, order)
        output = self._in_order(tokens, counts, experts)
        return torch.empty_like(output).index_copy_(0, order, output).view(states.shape)

    @staticmethod
    def _choose(
        states: torch.Tensor,
        gates: list[LanguageGate],
        rows: list[torch.Tensor | None],
        recorded: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        """Each token's path, `(batch, tokens)`: 0 for the shared one, 1, 2, ... for the experts of these gates."""
        if rows[0] is None:  # and so the only ones
            logits = gates[0].at_inference(states)
            is_open = gates[0].is_open(logits)
            _put(recorded, None, is_open, logits)
            return is_open.long()
        sizes = [len(own) for own in rows]
        rows = torch.cat(rows)
        parts = states.index_select(0, rows).split(sizes)
        logits = torch.cat([gate.at_inference(part) for gate, part in zip(gates, parts, strict=True)])
        numbers = [[number] for number, size in enumerate(sizes, start=1) for _ in range(size)]
        thresholds = torch.stack([gates[number - 1].threshold for (number,) in numbers])
        is_open = logits >= thresholds.to(logits.dtype).unsqueeze(1)
        _put(recorded, rows, is_open, logits)
        path = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        return path.index_copy_(0, rows, is_open * rows.new_tensor(numbers))

    def _in_order(self, tokens: torch.Tensor, counts: list[int], experts: list[LanguageExpert]) -> torch.Tensor:
        """Feed-forward of `(tokens, d_model)`: first `counts[0]` on the shared path, then those of each expert."""
        ends = list(itertools.accumulate(counts))
        spans = [(expert, *span) for expert, span in zip(experts, itertools.pairwise(ends), strict=True)]
        spans = [(expert, start, end) for expert, start, end in spans if start < end]
        low = [span for span in spans if span[0].fc1.builds_on_shared]
        built = low[-1][2] if low else counts[0]  # so many tokens go through the shared matrices, all at once
        outputs = []
        if built:
            hidden = multiply(self.fc1, tokens[:built])
            for expert, start, end in low:
                hidden[start:end] += expert.fc1.difference(tokens[start:end])
            hidden = self.activation_fn(hidden)
            outputs.append(multiply(self.fc2, hidden))
            for expert, start, end in low:
                outputs[0][start:end] += expert.fc2.difference(hidden[start:end])
        for expert, start, end in spans[len(low) :]:
            hidden = self.activation_fn(multiply(expert.fc1, tokens[start:end]))
            outputs.append(multiply(expert.fc2, hidden))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    def _dispatch_in_training(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """What `_blend` makes of hard gates, with the same gradients, at less cost.

        Gradients run back only through the path that a token takes. Of the other path the value alone is needed, for
        the gradient of the gate, and not even that where the utterance is skipped.
        """
        present = routing.on(states.device)
        experts = [self.experts[language] for language, _ in present]
        # Of each token: 0 where it is skipped or has no expert, else its language's number, and as much again as there
        # are languages where its gate is open. And a slope, 0 in value, with the gradient of its gate.
        group = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        slope = torch.zeros(states.shape[:2], device=states.device)
        recorded = _new_record(states, routing)
        for number, (expert, (_, rows)) in enumerate(zip(experts, present, strict=True), start=1):
            logits = expert.gate(states if rows is None else states[rows])
            counted, keep = self._decide(expert.gate, logits, routing.noise)
            group = _placed(group, rows, (number + len(experts) * (counted.detach() > 0.5)) * keep)
            slope = _placed(slope, rows, (counted - counted.detach()) * keep)
            _put(recorded, rows, counted, logits)
        _keep(routing, self.layer_idx, recorded)

        order = group.view(-1).argsort(stable=True)
        counts = torch.bincount(group.view(-1), minlength=1 + 2 * len(experts)).tolist()
        untouched, closed, opened = counts[0], counts[1 : 1 + len(experts)], counts[1 + len(experts) :]
        tokens = states.reshape(-1, states.shape[-1]).index_select(0, order)
        hidden = self.fc1(tokens) if any(expert.fc1.builds_on_shared for expert in experts) else None

        def in_parts(*sizes: int) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
            # Split at once: the gradient of each slice by itself would be as large as the whole.
            none = itertools.repeat(None, len(sizes))
            return list(zip(tokens.split(sizes), none if hidden is None else hidden.split(sizes), strict=True))

        def through_experts(parts: list) -> list[torch.Tensor]:
            return [expert(part, self, known) for expert, (part, known) in zip(experts, parts, strict=True)]

        first, *theirs = in_parts(untouched + sum(closed), *opened)
        output = torch.cat([self.shared(*first), *through_experts(theirs)])
        if slope.requires_grad:
            with torch.no_grad():
                _, *theirs, last = in_parts(untouched, *closed, sum(opened))
                others = torch.cat([*through_experts(theirs), self.shared(*last)])
                gain = output[untouched:] - others  # by how much the output is more with the gate as it is
                gain[: sum(closed)] *= -1
            slope = slope.view(-1).index_select(0, order)[untouched:].to(output.dtype)
            skipped, gated = output.split([untouched, len(output) - untouched])
            output = torch.cat([skipped, gated + slope.unsqueeze(1) * gain])
        return output.index_select(0, order.argsort()).view(states.shape)

    def _blend(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Both paths for every token, mixed by the gates: differentiable, and without data-dependent shapes."""
        output = self.shared(states)
        recorded = _new_record(states, routing)
        for language, rows in routing.on(states.device):
            expert = self.experts[language]
            masked = rows is not None and rows.dtype == torch.bool
            own = states if rows is None or masked else states[rows]
            logits = expert.gate(own)
            counted, keep = self._decide(expert.gate, logits, routing.noise)
            used = (counted * keep).to(output.dtype).unsqueeze(-1)
            other = output if rows is None or masked else output[rows]
            if self.training:
                mixed = used * expert(own, self) + (1 - used) * other
            else:  # no sum: what overflows on the path not taken would turn up as NaN
                mixed = torch.where(used > 0, expert(own, self), other)
            if masked:
                output = torch.where(rows[:, None, None], mixed, output)
            else:
                output = mixed if rows is None else output.index_copy(0, rows, mixed)
            _put(recorded, rows, counted, logits)
        _keep(routing, self.layer_idx, recorded)
        return output

    def _decide(self, gate: LanguageGate, logits: torch.Tensor, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The gates `(rows, tokens)`, in [0, 1], that the budget counts, and which rows `(rows, 1)` keep theirs.

        In the others, skipped utterances, all gates are shut. The budget counts gates before that (section 4.3.1).
        """
        keep = torch.ones_like(logits[:, :1], dtype=torch.bool)
        if not self.training:
            return gate.is_open(logits).to(logits.dtype), keep
        margin = logits - gate.threshold
        if self.routing_config.gate_training == "soft":
            counted = torch.sigmoid(margin + noise * torch.randn_like(margin))
        else:
            soft = torch.sigmoid(margin)
            # Forward the decision, backward the sigmoid's slope: training sees the very gates of inference.
            counted = (margin >= 0).to(soft.dtype) + (soft - soft.detach())
        return counted, torch.rand(keep.shape, device=logits.device) >= self.routing_config.skip_gate_prob


def _new_record(states: torch.Tensor, routing: Routing) -> list[torch.Tensor] | None:
    """Gates 0 and logits of minus infinity: what a row without an expert shows."""
    if routing.record is None:
        return None
    gates = states.new_zeros(states.shape[:2])
    return [gates, torch.full_like(gates, -torch.inf)]


def _put(recorded: list[torch.Tensor] | None, rows: torch.Tensor | None, *values: torch.Tensor) -> None:
    if recorded is not None:
        recorded[:] = [_placed(whole, rows, value) for whole, value in zip(recorded, values, strict=True)]


def _placed(whole: torch.Tensor, rows: torch.Tensor | None, value: torch.Tensor) -> torch.Tensor:
    """`whole` with `value` in those rows (`None`: in all)."""
    value = value.to(whole.dtype)
    if rows is None:
        return value
    if rows.dtype == torch.bool:
        return torch.where(rows[:, None], value, whole)
    return whole.index_copy(0, rows, value)


def _keep(routing: Routing, layer_idx: int, recorded: Iterable[torch.Tensor] | None) -> None:
    if recorded is not None:
        # By layer, so that gradient checkpointing's second pass over a layer overwrites instead of appending.
        routing.record[layer_idx] = tuple(recorded)
