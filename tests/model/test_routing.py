"""Each way to compute routing gives equation 4.1."""

import copy

import pytest
import torch
from helpers.routing import example, layer_of, make_routing

from modeling_distilwhisper.evaluation.gates import (
    forced_gates,
    gates_of_utterance,
    measure_expert_usage,
)
from modeling_distilwhisper.expert_layers_distilwhisper import FullLinear, LanguageExpert, multiply
from modeling_distilwhisper.gate_record_distilwhisper import GateRecord


def lower_rank(layer, language, rank=4):
    """Replaces a layer's full expert by one of low rank, with the same gate."""
    config = copy.deepcopy(layer.routing_config)
    config.expert_rank = rank
    expert = LanguageExpert(config, layer.expert_ffn_dim).eval()  # unlike an added language's, its `up` is not zero
    expert.gate = layer.experts[language].gate
    layer.experts[language] = expert


@pytest.mark.parametrize("low", [[], ["ca"], ["gl", "ca"]])
@pytest.mark.parametrize("rows", [{"gl": None}, {"gl": [0, 2]}, {"gl": [2], "ca": [0, 1]}, {"gl": [0], "ca": [2]}])
def test_dispatch_blend_and_the_equation_agree(model, rows, low):
    layer, states = layer_of(model), torch.randn(3, 7, 32)
    for language in low:
        lower_rank(layer, language)
    for language, closed_share in {"gl": 0.33, "ca": 0.72}.items():  # another threshold for each, and no token on it
        gate = layer.experts[language].gate
        gate.threshold.copy_(gate(states).detach().quantile(closed_share))
    expected = layer.shared(states)
    for language, numbers in rows.items():
        expert = layer.experts[language]
        for row in range(3) if numbers is None else numbers:
            logits = expert.gate(states[row : row + 1])
            gate = (logits >= expert.gate.threshold).float().unsqueeze(-1)
            mixed = gate * expert(states[row : row + 1], layer) + (1 - gate) * layer.shared(states[row : row + 1])
            expected[row] = mixed[0]
    for way in (layer._dispatch, layer._blend):
        record = GateRecord()
        output = way(states, make_routing(rows, record=record))
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
        assert record.gates[0].shape == (3, 7) and set(record.gates[0].unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("kind", [torch.nn.Linear, FullLinear])
@pytest.mark.parametrize("size", [24, 20])  # 20 is no multiple of the number of blocks
@pytest.mark.parametrize("tokens", [1, 2, 5, 8, 9])
def test_few_tokens_are_multiplied_as_many_are(tokens, size, kind):
    linear, states = kind(32, size), torch.randn(tokens, 32)
    output = multiply(linear, states)
    assert output.shape == (tokens, size) and output.is_contiguous()
    torch.testing.assert_close(output, linear(states), atol=1e-6, rtol=1e-5)


class Adapted(torch.nn.Linear):
    """A matrix with an adapter: its output is not that of its weight alone."""

    def forward(self, states):
        return super().forward(states) + states.sum(dim=-1, keepdim=True)


def test_a_gate_gives_at_inference_the_logits_of_its_forward(model):
    gate, states = layer_of(model).experts["gl"].gate, torch.randn(3, 7, 32)
    assert torch.equal(gate.at_inference(states), gate(states))


@pytest.mark.parametrize("rows", [{"gl": None}, {"gl": [2], "ca": [0, 1]}])
@pytest.mark.parametrize("matrix", ["hidden", "score"])
def test_an_adapter_on_a_gate_counts(model, matrix, rows):
    layer, states = layer_of(model), torch.randn(3, 7, 32)
    gate = layer.experts["gl"].gate
    plain = getattr(gate, matrix)
    without = layer._dispatch(states, make_routing(rows))
    adapted = Adapted(plain.in_features, plain.out_features, bias=plain.bias is not None)
    adapted.load_state_dict(plain.state_dict())
    setattr(gate, matrix, adapted)
    output = layer._dispatch(states, make_routing(rows))
    assert not torch.allclose(output, without, atol=1e-3)
    torch.testing.assert_close(output, layer._blend(states, make_routing(rows)), atol=1e-5, rtol=1e-5)


def test_every_token_passes_one_feed_forward_only_at_inference(model):
    layer, seen = layer_of(model), []
    count = lambda module, args, output: seen.append(args[0].numel() // args[0].shape[-1])  # noqa: E731
    hooks = [module.register_forward_hook(count) for module in (layer.fc1, layer.experts["gl"].fc1)]
    layer.feed_forward(torch.randn(3, 100, 32), make_routing({"gl": [0, 2]}))
    assert sum(seen) == 300 and len(seen) == 2
    for hook in hooks:
        hook.remove()


def test_all_low_ranks_of_a_batch_share_one_multiplication_by_the_shared_matrices(model):
    layer, seen = layer_of(model), []
    for language in ("gl", "ca"):
        lower_rank(layer, language)
    for matrix in (layer.fc1, layer.fc2):
        matrix.register_forward_hook(lambda module, args, output: seen.append(args[0].numel() // args[0].shape[-1]))
    record = GateRecord()
    layer.feed_forward(torch.randn(3, 100, 32), make_routing({"gl": [0], "ca": [2]}, record=record))
    assert all(0 < record.gates[0][row].mean() < 1 for row in (0, 2))
    assert seen == [300, 300]


@pytest.mark.parametrize("rows", [{"gl": None}, {"gl": [0, 2]}, {"gl": [0], "ca": [2]}])
@pytest.mark.parametrize("tokens", [1, 4])
def test_few_tokens_on_an_accelerator_never_wait_for_a_value(model, rows, tokens):
    """Tensors on the meta device have no values: to ask for one is an error."""
    layer = layer_of(model.to("meta"))
    output = layer.feed_forward(torch.randn(3, tokens, 32, device="meta"), make_routing(rows))
    assert output.shape == (3, tokens, 32)
    with pytest.raises((RuntimeError, NotImplementedError), match="(?i)meta tensor"):
        layer.feed_forward(torch.randn(3, 100, 32, device="meta"), make_routing(rows))


def test_an_overflow_on_the_path_not_taken_changes_nothing(model):
    layer, states = layer_of(model), torch.randn(3, 7, 32)
    routing = make_routing({"gl": None})
    with forced_gates(model, is_open=False):
        expected = layer._blend(states, routing)
        layer.experts["gl"].fc2.bias.data.fill_(torch.inf)
        assert torch.equal(layer._blend(states, routing), expected)


@pytest.mark.slow
def test_compiled_forward_is_one_graph_for_any_languages(model):
    """Blending has no data-dependent shapes: other rows in other languages need no new graph."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with torch.no_grad():
        for languages in (["gl", "fr", "ca"], ["ca", "gl", "gl"], ["fr", "ru", "gl"]):
            batch, labels = example(model, languages)
            output, expected = (each(**batch, labels=labels, use_cache=False) for each in (compiled, model))
            torch.testing.assert_close(output.logits, expected.logits, atol=1e-4, rtol=1e-4)
    assert len(graphs) == 1


@pytest.mark.slow
def test_a_compiled_forward_gives_the_gates_too(model):
    batch, labels = example(model, ["gl", "fr", "ca"])
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        output, expected = (
            each(**batch, labels=labels, use_cache=False, output_gates=True) for each in (compiled, model)
        )
    for name in ("encoder_gates", "decoder_gates", "encoder_gate_logits", "decoder_gate_logits"):
        for ours, theirs in zip(getattr(output, name), getattr(expected, name), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite_and_close(model, dtype):
    batch, labels = example(model)
    with torch.no_grad():
        full = model(**batch, labels=labels).logits
        half = model.to(dtype)(input_features=batch["input_features"].to(dtype), labels=labels).logits
    assert torch.isfinite(half).all()
    close = torch.nn.functional.cosine_similarity(full.flatten(), half.float().flatten(), dim=0)
    assert close > 0.8


def test_forced_gates_open_close_and_come_back(model, whisper):
    batch, labels = example(model)
    with torch.no_grad():
        before, plain = model(**batch, labels=labels).logits, whisper(**batch, labels=labels).logits
        with forced_gates(model, is_open=False):
            assert torch.equal(model(**batch, labels=labels).logits, plain)
            assert measure_expert_usage(model, [{**batch, "labels": labels}])["all"] == 0
        with forced_gates(model, is_open=True):
            assert measure_expert_usage(model, [{**batch, "labels": labels}])["all"] == 1
        assert torch.equal(model(**batch, labels=labels).logits, before)


def test_the_gates_of_one_utterance_are_its_own_without_padding(model):
    batch, labels = example(model, ["gl"])
    labels = torch.cat([labels, torch.full((1, 3), -100)], dim=1)
    gates = gates_of_utterance(model, {**batch, "labels": labels})
    frames = int(batch["attention_mask"].sum()) // 2
    assert gates["encoder"].shape == (2, frames) and gates["decoder"].shape == (2, 8)
    usage = measure_expert_usage(model, [{**batch, "labels": labels}])
    for side, side_gates in gates.items():
        assert set(side_gates.unique().tolist()) <= {0.0, 1.0}
        assert side_gates.mean().item() == pytest.approx(usage[side])
    batch, labels = example(model, ["en"])
    with pytest.raises(ValueError, match="The utterance's language has no expert"):
        gates_of_utterance(model, {**batch, "labels": labels})
    batch, labels = example(model, ["gl", "gl"])
    with pytest.raises(ValueError, match="Expected a batch of one utterance, got 2"):
        gates_of_utterance(model, {**batch, "labels": labels})
