"""Each way to compute routing gives equation 4.1, and gates decide in training as at inference."""

import copy

import pytest
import torch
from helpers import tiny

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import (
    GateReport,
    forced_gates,
    gates_of_utterance,
    measure_expert_usage,
)
from modeling_distilwhisper.expert_layers_distilwhisper import FullLinear, LanguageExpert, multiply
from modeling_distilwhisper.gate_record_distilwhisper import GateRecord
from modeling_distilwhisper.routing_distilwhisper import Routing
from modeling_distilwhisper.training.gate_budget import budget_quantiles, move_thresholds


def make_routing(rows, **settings):
    """A routing from the indices of each language's rows, `None` for all rows."""
    indices = {language: None if numbers is None else torch.tensor(numbers) for language, numbers in rows.items()}
    return Routing(indices, **settings)


def layer_of(model):
    return model.model.encoder.layers[0]


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
    layer.feed_forward(torch.randn(3, 40, 32), make_routing({"gl": [0, 2]}))
    assert sum(seen) == 120 and len(seen) == 2
    for hook in hooks:
        hook.remove()


def test_all_low_ranks_of_a_batch_share_one_multiplication_by_the_shared_matrices(model):
    layer, seen = layer_of(model), []
    for language in ("gl", "ca"):
        lower_rank(layer, language)
    for matrix in (layer.fc1, layer.fc2):
        matrix.register_forward_hook(lambda module, args, output: seen.append(args[0].numel() // args[0].shape[-1]))
    record = GateRecord()
    layer.feed_forward(torch.randn(3, 7, 32), make_routing({"gl": [0], "ca": [2]}, record=record))
    assert all(0 < record.gates[0][row].mean() < 1 for row in (0, 2))
    assert seen == [21, 21]


@pytest.mark.parametrize("rows", [{"gl": None}, {"gl": [0, 2]}, {"gl": [0], "ca": [2]}])
def test_a_decoding_step_on_an_accelerator_never_waits_for_a_value(model, rows):
    """Tensors on the meta device have no values: to ask for one is an error."""
    layer = layer_of(model.to("meta"))
    output = layer.feed_forward(torch.randn(3, 1, 32, device="meta"), make_routing(rows))
    assert output.shape == (3, 1, 32)
    with pytest.raises((RuntimeError, NotImplementedError), match="(?i)meta tensors"):
        layer.feed_forward(torch.randn(3, 2, 32, device="meta"), make_routing(rows))


def test_an_overflow_on_the_path_not_taken_changes_nothing(model):
    layer, states = layer_of(model), torch.randn(3, 7, 32)
    routing = make_routing({"gl": None})
    with forced_gates(model, is_open=False):
        expected = layer._blend(states, routing)
        layer.experts["gl"].fc2.bias.data.fill_(torch.inf)
        assert torch.equal(layer._blend(states, routing), expected)


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("rows", [{"gl": None}, {"gl": [0, 2]}, {"gl": [3], "ca": [0, 1]}])
def test_training_through_one_path_has_the_outputs_and_gradients_of_the_blend(whisper_dir, rank, rows):
    """Input, experts and gates, with utterances skipped; the frozen shared path gets none."""
    model = DistilWhisperForConditionalGeneration.from_whisper(
        whisper_dir, languages=["gl", "ca"], expert_rank=rank, skip_gate_prob=0.4
    ).train()
    tiny.unsettle(model)
    layer, states, target = layer_of(model), torch.randn(4, 7, 32), torch.randn(4, 7, 32)
    for expert in layer.experts.values():
        expert.gate.threshold.copy_(expert.gate(states).median().detach())
    results = {}
    for way in (layer._blend, layer._dispatch_in_training):
        torch.manual_seed(0)
        record, inputs = GateRecord(), states.clone().requires_grad_()
        output = way(inputs, make_routing(rows, record=record))
        gates, logits = record.gates[0], record.logits[0]
        loss = (output * target).sum() + gates.sum()
        wanted = {name: tensor for name, tensor in layer.experts.named_parameters() if name.split(".")[0] in rows}
        gradients = torch.autograd.grad(loss, [inputs, *wanted.values()])
        names = ["output", "gates", "logits", "states", *wanted]
        results[way] = dict(zip(names, [output, gates, logits, *gradients], strict=True))
    blended, dispatched = results.values()
    for name, tensor in blended.items():
        assert tensor.detach().nan_to_num(neginf=0).abs().max() > 0, name
        torch.testing.assert_close(dispatched[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("rank", [0, 4])
def test_training_computes_the_shared_first_matrix_once_a_token(whisper_dir, rank):
    model = DistilWhisperForConditionalGeneration.from_whisper(
        whisper_dir, languages=["gl", "ca"], expert_rank=rank, skip_gate_prob=0.4
    ).train()
    tiny.unsettle(model)
    layer, seen = layer_of(model), []
    layer.fc1.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    layer.feed_forward(torch.randn(4, 7, 32), make_routing({"gl": [0, 2], "ca": [1, 3]}))
    assert sum(seen) == 28


def test_hard_training_decides_as_inference_does(model):
    batch, labels = example(model)
    with torch.no_grad():
        inferred = model(**batch, labels=labels, output_gates=True)
    model.config.skip_gate_prob = 0.0
    model.train()
    trained = model(**batch, labels=labels, output_gates=True)
    for name in ("encoder_gates", "decoder_gates"):
        for ours, theirs in zip(getattr(trained, name), getattr(inferred, name), strict=True):
            assert torch.equal(ours, theirs)
    torch.testing.assert_close(trained.logits, inferred.logits, atol=1e-4, rtol=1e-4)


def test_gates_learn_through_the_hard_decision(model):
    batch, labels = example(model)
    model.config.skip_gate_prob = 0.0
    model.train()
    model(**batch, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        if ".experts.gl." in name:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        elif ".experts.ca." not in name:
            assert parameter.grad is None, name


def test_soft_training_follows_the_equation(whisper_dir, processor):
    model = DistilWhisperForConditionalGeneration.from_whisper(
        whisper_dir, languages=["gl"], gate_training="soft", skip_gate_prob=0.0
    )
    tiny.unsettle(model)
    layer, states = layer_of(model).train(), torch.randn(2, 5, 32)
    record = GateRecord()
    torch.manual_seed(0)
    layer.feed_forward(states, make_routing({"gl": None}, noise=3.0, record=record))
    torch.manual_seed(0)
    logits = layer.experts["gl"].gate(states)
    expected = torch.sigmoid(logits + 3.0 * torch.randn_like(logits))
    torch.testing.assert_close(record.gates[0], expected)


def test_whole_utterances_are_skipped_and_still_count(model):
    layer, states = layer_of(model), torch.randn(64, 5, 32)
    model.config.skip_gate_prob = 0.5
    expert = layer.experts["gl"]
    expert.gate.threshold.fill_(-torch.inf)
    layer.train()
    record = GateRecord()
    output = layer.feed_forward(states, make_routing({"gl": None}, record=record))
    skipped = torch.isclose(output, layer.shared(states), atol=1e-5).all(dim=-1)
    assert 15 < skipped.all(dim=1).sum() < 49
    assert torch.equal(skipped.all(dim=1), skipped.any(dim=1)), "not single tokens"
    torch.testing.assert_close(output[~skipped.all(dim=1)], expert(states, layer)[~skipped.all(dim=1)])
    assert record.gates[0].all(), "the budget counts gates before skipping"


def test_rows_without_an_expert_are_not_in_the_budget(model):
    batch, labels = example(model, ["gl", "fr"])
    with torch.no_grad():
        report = GateReport.of(model(**batch, labels=labels, output_gates=True), batch["attention_mask"], labels)
    assert report.masks["encoder"][0].any()
    assert report.masks["decoder"][0].any()
    assert not report.masks["encoder"][1].any()
    assert not report.masks["decoder"][1].any()


def test_gradient_checkpointing_changes_no_gradient_and_no_gate(model):
    batch, labels = example(model)
    results = []
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        torch.manual_seed(0)
        outputs = model(**batch, labels=labels, output_gates=True, use_cache=False)
        report = GateReport.of(outputs, batch["attention_mask"], labels)
        (outputs.loss + sum(gates.sum() for gates in report.layers()[0])).backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((outputs.encoder_gates + outputs.decoder_gates, gradients))
    (gates, gradients), (gates_again, gradients_again) = results
    assert len(gates) == len(gates_again) == 4 and all(map(torch.equal, gates, gates_again))
    assert gradients.keys() == gradients_again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[name], gradient, msg=name)


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


def test_autocast_trains(model):
    batch, labels = example(model)
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**batch, labels=labels).loss.backward()
    gradient = layer_of(model).experts["gl"].fc1.weight.grad
    assert gradient.dtype == torch.float32 and torch.isfinite(gradient).all()


def test_low_rank_experts_start_as_the_shared_path_and_learn(whisper_dir, processor):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"], expert_rank=4)
    layer, states = layer_of(model), torch.randn(2, 5, 32)
    expert = layer.experts["gl"]
    assert torch.equal(expert(states, layer), layer.shared(states))
    expert.fc1.up.weight.data.normal_()
    weight = layer.fc1.weight + expert.fc1.up.weight @ expert.fc1.down.weight
    expected = torch.nn.functional.linear(states, weight, layer.fc1.bias)
    torch.testing.assert_close(expert.fc1(states, layer.fc1), expected, atol=1e-4, rtol=1e-4)


def test_thresholds_follow_the_budget_over_real_tokens(fresh, processor):
    batch = tiny.make_audio(processor, [0.5, 1.5])
    labels = labels_in(fresh, ["gl", "gl"])
    labels[0, 4:] = -100
    fresh.config.gate_budget, fresh.config.skip_gate_prob = 0.3, 0.0
    fresh.train()
    outputs = fresh(**batch, labels=labels, output_gates=True)
    report = GateReport.of(outputs, batch["attention_mask"], labels)
    assert report.masks["encoder"].sum(dim=1).tolist() == [25, 75]  # 20 ms a frame
    assert report.masks["decoder"].sum(dim=1).tolist() == [4, 8]
    assert torch.stack(outputs.encoder_gates).mean() == 1, "a new gate is open"
    move_thresholds(fresh, [budget_quantiles(fresh, report)], momentum=0.5)
    usage = measure_expert_usage(fresh, [{**batch, "labels": labels}])
    # One threshold a layer was set from the layer's states before the layers below changed their gates.
    assert usage["encoder"] == pytest.approx(0.3, abs=0.02) and usage["decoder"] == pytest.approx(0.3, abs=0.1)
    # Every layer of a side has as many tokens, and 100 frames stand against 12 targets.
    for side in ("encoder", "decoder"):
        assert usage[side] == pytest.approx((usage[f"{side} 0"] + usage[f"{side} 1"]) / 2)
    assert usage["all"] == pytest.approx((100 * usage["encoder"] + 12 * usage["decoder"]) / 112)
    gates = [layer.experts["ca"].gate.threshold for layer in fresh.routed_layers().values()]
    assert all(torch.isinf(threshold) for threshold in gates), "a language that is not in the batch stays as it was"


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


def labels_in(model, languages, length=8):
    ids = [model.generation_config.lang_to_id[f"<|{language}|>"] for language in languages]
    text = torch.randint(0, 200, (len(ids), length - 1), generator=torch.Generator().manual_seed(2))
    return torch.cat([torch.tensor(ids)[:, None], text], dim=1)


def example(model, languages=("gl", "gl")):
    batch = tiny.make_audio(tiny.make_processor(), [1.0] * len(languages))
    return batch, labels_in(model, languages)
