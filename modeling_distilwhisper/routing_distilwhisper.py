"""Routing: which tokens of a batch take an expert, and which take the shared path (section 4.1)."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .calls_distilwhisper import call_state
from .configuration_distilwhisper import DistilWhisperConfig
from .expert_layers_distilwhisper import LanguageExpert, LanguageGate, multiply
from .gate_record_distilwhisper import GateRecord, Rows, count_numbers, move_rows, replace_rows

# Of each language in the batch: its expert in a layer, and the rows that take it.
ExpertsInBatch = list[tuple[LanguageExpert, Rows]]
FEW_TOKENS = 256  # up to about this number, accelerators spend most of a matrix product on reading the matrix


@dataclass
class Routing:
    """What every layer of one pass through an encoder or a decoder needs to route a batch.

    Attributes:
        rows: language code -> the rows that take its experts, for each language in the batch.
        noise: the scale alpha(t) of the noise in soft training gates (eq. 4.2).
        record: where the layers write their gates; `None` to write none.
        experts: layer index -> language code -> expert; `None` for those that each layer has.
        forced: layer -> whether its gates are forced open or closed, noted by the first layer: gradient checkpointing
            runs the layers again later.
    """

    rows: dict[str, Rows]
    noise: float = 0.0
    record: GateRecord | None = None
    experts: Mapping[int, Mapping[str, nn.Module]] | None = None
    forced: Mapping[nn.Module, bool] | None = None

    @classmethod
    def from_ids(cls, language_ids: torch.Tensor, by_token: Mapping[int, str], **settings) -> "Routing | None":
        """The routing of rows with these ids, or `None` if no row has an expert.

        Args:
            language_ids: `(batch,)`, the id of each row's language token, -1 for none.
            by_token: language token id -> language code, of the loaded experts.
            settings: the other attributes.
        """
        rows: dict[str, Rows]
        if torch.compiler.is_compiling():  # values are unknown, so every language has a mask
            rows = {language: language_ids == token for token, language in by_token.items()}
            return cls(rows, **settings)
        ids, rows = language_ids.tolist(), {}
        for token in dict.fromkeys(ids):
            if token in by_token:
                indices = [row for row, row_token in enumerate(ids) if row_token == token]
                rows[by_token[token]] = None if len(indices) == len(ids) else torch.tensor(indices)
        return cls(rows, **settings) if rows else None

    def rows_on(self, device: torch.device) -> list[tuple[str, Rows]]:
        """Languages and their rows, on a layer's device. They stay there: the next layer is rarely on another one."""
        self.rows = {language: move_rows(rows, device) for language, rows in self.rows.items()}
        return list(self.rows.items())


class RoutedFeedForward(nn.Module):
    """A mixin for a Whisper layer: its feed-forward becomes the shared path, next to the languages' experts.

    The layer must set the attributes below, as Whisper's layers do, and call `init_experts` once.
    """

    fc1: nn.Linear
    fc2: nn.Linear
    activation_fn: Callable[[torch.Tensor], torch.Tensor]
    activation_dropout: float
    dropout: float
    final_layer_norm: nn.LayerNorm
    self_attn: nn.Module
    self_attn_layer_norm: nn.LayerNorm
    encoder_attn: nn.Module  # of a decoder layer
    encoder_attn_layer_norm: nn.LayerNorm

    def init_experts(self, config: DistilWhisperConfig, ffn_dim: int, layer_idx: int) -> None:
        """Makes untrained experts of `config.languages`.

        Args:
            config: the model's config, not a copy, so later changes take effect.
            ffn_dim: width of the feed-forward.
            layer_idx: index of this layer in its encoder or decoder.
        """
        self.routing_config = config
        self.expert_ffn_dim = ffn_dim
        self.layer_idx = layer_idx
        self.experts = nn.ModuleDict({language: LanguageExpert(config, ffn_dim) for language in config.languages or []})

    def expert_of(self, language: str) -> LanguageExpert:
        """This layer's expert of a language."""
        expert: Any = self.experts[language]
        return expert

    def set_experts(self, experts: Mapping[str, nn.Module]) -> None:
        """Replaces the experts at once: threads that read them meanwhile see the old or the new ones."""
        self.experts = nn.ModuleDict(dict(experts))

    def shared(self, states: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Whisper's feed-forward, dropouts included: `(..., d_model)` to `(..., d_model)`.

        Args:
            states: `(..., d_model)`.
            hidden: `fc1(states)`, `(..., ffn_dim)`, if it is computed already.
        """
        hidden = self.activation_fn(self.fc1(states) if hidden is None else hidden)
        hidden = nn.functional.dropout(hidden, p=self.activation_dropout, training=self.training)
        return nn.functional.dropout(self.fc2(hidden), p=self.dropout, training=self.training)

    def feed_forward(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """`g(z) expert(z) + (1 - g(z)) shared(z)` (eq. 4.1): `(batch, tokens, d_model)` to the same shape.

        Three methods compute it. `_dispatch` is for inference: each token goes through one path.
        `_dispatch_in_training` is the same with gradients, for hard gates. `_blend` computes both paths for all tokens;
        it is for soft gates, and for compilers and accelerators, which are slow where shapes depend on values.
        """
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self._blend(states, routing)
        if self.training:
            hard = self.routing_config.gate_training == "hard"
            return self._dispatch_in_training(states, routing) if hard else self._blend(states, routing)
        # On an accelerator, both paths for few tokens cost less than a wait until the CPU knows which path they take.
        few = states.shape[1] == 1 or states.shape[:2].numel() <= FEW_TOKENS
        return (self._blend if few and states.device.type != "cpu" else self._dispatch)(states, routing)

    # Inference: each token through one path

    def _dispatch(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """The expert for tokens whose gate is open, and the shared path for all others."""
        # Low ranks first, so that their tokens follow those of the shared path, whose matrices they take too.
        present = sorted(self._start(states, routing), key=lambda pair: not pair[0].joins_shared)
        experts = [expert for expert, _ in present]
        path = self._choose_paths(states, present, routing)

        counts = count_numbers(path, 1 + len(experts))
        if (largest := max(counts)) == path.numel():  # all tokens take one path
            number = counts.index(largest)
            return experts[number - 1](states, self) if number else self.shared(states)
        order = path.view(-1).argsort(stable=True)
        tokens = states.reshape(-1, states.shape[-1]).index_select(0, order)
        output = self._run_sorted(tokens, counts, experts)
        return torch.empty_like(output).index_copy_(0, order, output).view(states.shape)

    def _choose_paths(self, states: torch.Tensor, present: ExpertsInBatch, routing: Routing) -> torch.Tensor:
        """Each token's path, `(batch, tokens)`: 0 for the shared path, 1, 2, ... for the experts in this order."""
        gates = [expert.gate for expert, _ in present]
        if present[0][1] is None:  # one language has all rows
            logits = gates[0].at_inference(states)
            is_open = logits >= self._threshold(gates[0], routing)
            self._record(routing, None, is_open, logits)
            return is_open.long()
        # From here on all languages at once: in a decoding step, one more operation per language would cost too much.
        rows_of_each = [rows for _, rows in present if rows is not None]
        sizes = [len(rows) for rows in rows_of_each]
        rows = torch.cat(rows_of_each)
        parts = states.index_select(0, rows).split(sizes)
        logits = torch.cat([gate.at_inference(part) for gate, part in zip(gates, parts, strict=True)])
        numbers = [number for number, size in enumerate(sizes, start=1) for _ in range(size)]
        thresholds = torch.stack([self._threshold(gates[number - 1], routing) for number in numbers])
        is_open = logits >= thresholds.to(logits.dtype).unsqueeze(1)
        self._record(routing, rows, is_open, logits)
        path = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        paths = move_rows(torch.tensor(numbers).unsqueeze(1), rows.device)
        return path.index_copy_(0, rows, is_open * paths)

    def _run_sorted(self, tokens: torch.Tensor, counts: list[int], experts: list[LanguageExpert]) -> torch.Tensor:
        """Feed-forward of `(tokens, d_model)`: first `counts[0]` on the shared path, then those of each expert."""
        ends = list(itertools.accumulate(counts))
        spans: list[tuple[Any, int, int]]  # an expert, its first token, the token after its last
        spans = [(expert, *span) for expert, span in zip(experts, itertools.pairwise(ends), strict=True)]
        spans = [(expert, start, end) for expert, start, end in spans if start < end]
        low_ranks = [span for span in spans if span[0].joins_shared]
        # Shared path and low ranks go through the shared matrices together.
        together = low_ranks[-1][2] if low_ranks else counts[0]
        outputs = []
        if together:
            hidden = multiply(self.fc1, tokens[:together])
            for expert, start, end in low_ranks:
                hidden[start:end] += expert.fc1.difference(tokens[start:end])
            hidden = self.activation_fn(hidden)
            outputs.append(multiply(self.fc2, hidden))
            for expert, start, end in low_ranks:
                outputs[0][start:end] += expert.fc2.difference(hidden[start:end])
        outputs += [expert.at_inference(tokens[start:end], self) for expert, start, end in spans[len(low_ranks) :]]
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    # Training with hard gates: gradients through one path

    def _dispatch_in_training(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """`y + (g - stop_gradient(g)) * (expert - shared)`, where `y` is the output of the path that a token takes.

        These are the values and gradients of `_blend` with hard gates, at less cost. The factor of the second term is
        0 in value, so `y` is the output; its gradient is the gate's, by the straight-through estimator. Of the path
        that a token does not take, only the value is needed, for the gate's gradient: it is computed without a graph,
        and not at all for unrouted tokens.
        """
        present = self._start(states, routing)
        experts = [expert for expert, _ in present]
        bucket, slope = self._fill_buckets(states, present, routing)
        sizes = count_numbers(bucket, 1 + 2 * len(experts))
        unrouted, closed, opened = sizes[0], sizes[1 : 1 + len(experts)], sizes[1 + len(experts) :]

        order = bucket.view(-1).argsort(stable=True)
        tokens = states.reshape(-1, states.shape[-1]).index_select(0, order)
        # Low ranks need the shared first matrix of all tokens: once, for both paths.
        hidden = self.fc1(tokens) if any(expert.builds_on_shared for expert in experts) else None
        on_shared: tuple[LanguageExpert | None, int] = (None, unrouted + sum(closed))
        output = self._run_parts(tokens, hidden, [on_shared, *zip(experts, opened, strict=True)])
        if slope.requires_grad:
            with torch.no_grad():
                tokens, hidden = tokens[unrouted:], None if hidden is None else hidden[unrouted:]
                not_taken = self._run_parts(tokens, hidden, [*zip(experts, closed, strict=True), (None, sum(opened))])
                difference = output[unrouted:] - not_taken  # open gates: expert - shared; closed: the opposite
                difference[: sum(closed)] *= -1
            slope = slope.view(-1).index_select(0, order)[unrouted:].to(output.dtype)
            without_gate, gated = output.split([unrouted, len(output) - unrouted])
            output = torch.cat([without_gate, gated + slope.unsqueeze(1) * difference])
        return output.index_select(0, order.argsort()).view(states.shape)

    def _fill_buckets(
        self, states: torch.Tensor, present: ExpertsInBatch, routing: Routing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sorts tokens by language and decision.

        Returns:
            Each token's bucket `(batch, tokens)`: 0 for unrouted tokens (without an expert, or in a skipped
            utterance), then "closed" of each language, then "open" of each language. And each token's slope
            `g - stop_gradient(g)`, `(batch, tokens)`: 0 in value, with the gate's gradient where a token is routed.
        """
        bucket = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        slope = torch.zeros(states.shape[:2], device=states.device)
        for closed, (expert, rows) in enumerate(present, start=1):
            logits = expert.gate(states if rows is None else states[rows])
            gates, keep = self._decide(expert.gate, logits, routing)
            opened = closed + len(present)
            bucket = replace_rows(bucket, rows, torch.where(gates.detach() > 0.5, opened, closed) * keep)
            slope = replace_rows(slope, rows, (gates - gates.detach()) * keep)
            self._record(routing, rows, gates, logits)
        return bucket, slope

    def _run_parts(
        self, tokens: torch.Tensor, hidden: torch.Tensor | None, parts: Sequence[tuple[LanguageExpert | None, int]]
    ) -> torch.Tensor:
        """Feed-forward of `(tokens, d_model)`, cut into parts.

        Args:
            tokens: `(tokens, d_model)`.
            hidden: `fc1(tokens)`, `(tokens, ffn_dim)`, if it is computed already.
            parts: of each part, the expert that it takes (`None` for the shared path) and its number of tokens.
        """
        sizes = [size for _, size in parts]
        # Split at once: the gradient of a single slice would be as large as the full tensor.
        hidden_parts = [None] * len(parts) if hidden is None else hidden.split(sizes)
        outputs = []
        for (expert, _), token_part, hidden_part in zip(parts, tokens.split(sizes), hidden_parts, strict=True):
            if expert is None:
                outputs.append(self.shared(token_part, hidden_part))
            else:
                outputs.append(expert(token_part, self, hidden_part))
        return torch.cat(outputs)

    # Both paths for every token

    def _blend(self, states: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Mixes the outputs by the gates: differentiable, and without shapes that depend on values."""
        output = self.shared(states)
        for expert, rows in self._start(states, routing):
            if rows is not None and rows.dtype != torch.bool:
                row_states, row_output = states[rows], output[rows]
            else:
                row_states, row_output = states, output
            logits = expert.gate(row_states)
            gates, keep = self._decide(expert.gate, logits, routing)
            used = (gates * keep).to(output.dtype).unsqueeze(-1)
            if self.training:
                mixed = used * expert(row_states, self) + (1 - used) * row_output
            else:  # no sum: a value that overflows on the path not taken would make it NaN
                mixed = torch.where(used > 0, expert(row_states, self), row_output)
            output = replace_rows(output, rows, mixed)
            self._record(routing, rows, gates, logits)
        return output

    # Shared by all three

    def _start(self, states: torch.Tensor, routing: Routing) -> ExpertsInBatch:
        """The experts of the languages in the batch and their rows. It empties the layer's gate record."""
        if routing.record is not None:
            routing.record.start_layer(self.layer_idx, states)
        if routing.forced is None:
            routing.forced = call_state().gates
        experts: Any = self.experts if routing.experts is None else routing.experts[self.layer_idx]
        return [(experts[language], rows) for language, rows in routing.rows_on(states.device)]

    def _record(self, routing: Routing, rows: Rows, gates: torch.Tensor, logits: torch.Tensor) -> None:
        if routing.record is not None:
            routing.record.write(self.layer_idx, rows, gates, logits)

    def _threshold(self, gate: LanguageGate, routing: Routing) -> torch.Tensor:
        """Where a gate opens: at its own threshold, or where this call forces it."""
        if not routing.forced or self not in routing.forced:
            return gate.threshold
        return torch.full_like(gate.threshold, -torch.inf if routing.forced[self] else torch.inf)

    def _decide(self, gate: LanguageGate, logits: torch.Tensor, routing: Routing) -> tuple[torch.Tensor, torch.Tensor]:
        """Gates in [0, 1], `(rows, tokens)`, as the budget counts them, and which rows keep theirs, `(rows, 1)`.

        The other rows are skipped utterances: their gates are set to 0, but the budget uses the earlier values
        (section 4.3.1).
        """
        threshold = self._threshold(gate, routing)
        keep = torch.ones_like(logits[:, :1], dtype=torch.bool)
        if not self.training:
            return (logits >= threshold).to(logits.dtype), keep
        margin = logits - threshold
        if self.routing_config.gate_training == "soft":
            gates = torch.sigmoid(margin + routing.noise * torch.randn_like(margin))
        else:
            soft = torch.sigmoid(margin)
            # Forward: the hard decision, as at inference. Backward: the gradient of the sigmoid.
            gates = (margin >= 0).to(soft.dtype) + (soft - soft.detach())
        return gates, torch.rand(keep.shape, device=logits.device) >= self.routing_config.skip_gate_prob


__all__ = ["RoutedFeedForward", "Routing"]
