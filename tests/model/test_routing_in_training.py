"""Gates decide in training as at inference, and learn; the shared path is computed once."""

import pytest
import torch
from helpers import tiny
from helpers.routing import example, labels_in, layer_of, make_routing

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import (
    GateReport,
    measure_expert_usage,
)
from modeling_distilwhisper.gate_record_distilwhisper import GateRecord
from modeling_distilwhisper.training.gate_budget import budget_quantiles, move_thresholds


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("rows", [{"gl": None}, {"gl": [0, 2]}, {"gl": [3], "ca": [0, 1]}])
def test_training_through_one_path_has_the_outputs_and_gradients_of_the_blend(whisper_dir, rank, rows):
    """Input, experts and gates, with utterances skipped; the frozen shared path gets none."""
    model = DistilWhisperForConditionalGeneration.from_whisper(
        whisper_dir, languages=["gl", "ca"], expert_rank=rank, skip_gate_prob=0.4
    ).train()
    tiny.unsettle(model)
    layer, states, target = layer_of(model), torch.randn(4, 7, 32), torch.randn(4, 7, 32)
    layer.experts.requires_grad_()  # with the biases of low-rank experts, which a training leaves as they are
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
