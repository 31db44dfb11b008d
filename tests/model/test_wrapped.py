"""What others wrap (adapters, hooks, compilers, quantisers) is asked through its call, and computes what it should."""

import copy

import pytest
import torch
from helpers import tiny

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import forced_gates
from modeling_distilwhisper.routing_distilwhisper import Routing
from modeling_distilwhisper.training.gate_budget import move_thresholds

SHARED = r".*\.layers\.\d+\.fc[12]"  # the shared matrices alone
KINDS = {"full": 0, "low-rank": 4}


def build(whisper_dir, languages=("gl", "ca"), rank=0):
    model = DistilWhisperForConditionalGeneration.from_whisper(
        whisper_dir, languages=list(languages), expert_rank=rank, skip_gate_prob=0.0
    ).eval()
    tiny.unsettle(model)
    return model


def batch_for(model, processor, languages):
    ids = [model.generation_config.lang_to_id[f"<|{language}|>"] for language in languages]
    labels = torch.tensor([[token, 5, 6, 7] for token in ids])
    return {**tiny.make_audio(processor, [1.0 + 0.2 * i for i in range(len(ids))]), "labels": labels}


@torch.no_grad()
def logits(model, batch):
    return model(**batch).logits


def with_lora(model, **settings):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=2, **settings))


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("full", ["fc1", "fc2"]),
        ("full", SHARED),
        ("full", "all-linear"),
        ("low-rank", SHARED),
        ("low-rank", "all-linear"),
        ("low-rank", ["up", "down", "q_proj"]),
    ],
)
@pytest.mark.parametrize("languages", [["gl"], ["gl", "ca"]])
def test_an_adapter_changes_nothing_at_first_and_learns(whisper_dir, processor, kind, targets, languages):
    model = build(whisper_dir, languages, KINDS[kind])
    batch = batch_for(model, processor, [*languages, "gl"])
    mixed = batch_for(model, processor, [*languages, "fr"])
    audio = {name: mixed[name] for name in ("input_features", "attention_mask")}
    settings = {"language": [*languages, "fr"], "task": "transcribe", "max_new_tokens": 6}
    before, tokens = logits(model, mixed), model.generate(**audio, **settings)
    adapted = with_lora(model, target_modules=targets).eval()
    torch.testing.assert_close(logits(adapted, mixed), before, atol=1e-4, rtol=1e-4)
    assert torch.equal(adapted.generate(**audio, **settings), tokens)

    adapted.train()
    adapted(**batch).loss.backward()
    for is_open in (True, False):  # a path that no token takes has no gradient
        with forced_gates(adapted, is_open=is_open):
            adapted(**batch).loss.backward()
    ups = {name: parameter.grad for name, parameter in adapted.named_parameters() if "lora_B" in name}
    without = {name for name, gradient in ups.items() if gradient is None or gradient.abs().max() == 0}
    gates = {name for name in ups if ".gate." in name}  # some are far from their threshold
    assert ups and without <= gates and (not gates or without < gates), without
    assert all(p.grad is None for name, p in adapted.named_parameters() if "lora_" not in name)


@pytest.mark.parametrize(("kind", "targets"), [("full", ["fc1", "fc2"]), ("low-rank", SHARED), ("low-rank", ["up"])])
@pytest.mark.parametrize("tokens", [1, 40])
def test_an_adapter_counts_at_inference_as_in_training_and_after_merging(whisper_dir, kind, targets, tokens):
    """For few tokens on a CPU, plain matrices are multiplied in a faster way, which would pass an adapter by."""
    model = build(whisper_dir, rank=KINDS[kind])
    adapted = with_lora(model, target_modules=targets, init_lora_weights=False).eval()
    layer, states = model.model.decoder.layers[0], torch.randn(2, tokens, 32)
    expert = layer.experts["gl"]
    gates = (expert.gate(states) >= expert.gate.threshold).unsqueeze(-1)
    expected = torch.where(gates, expert(states, layer), layer.shared(states))
    for way in (layer._dispatch, layer._blend):
        torch.testing.assert_close(way(states, Routing({"gl": None})), expected, atol=1e-4, rtol=1e-4)
    merged = adapted.merge_and_unload().model.decoder.layers[0]
    torch.testing.assert_close(merged._dispatch(states, Routing({"gl": None})), expected, atol=1e-4, rtol=1e-4)


def test_low_rank_experts_are_no_target_of_peft_and_it_says_so(whisper_dir):
    """Their two matrices are targets, `up` and `down`; PEFT names what it supports."""
    with pytest.raises(ValueError, match="Target module LowRankLinear(.|\n)* is not supported"):
        with_lora(build(whisper_dir, rank=4), target_modules=["fc1", "fc2"])


@pytest.mark.parametrize("rank", KINDS.values())
def test_a_gate_that_peft_saves_is_used(whisper_dir, processor, rank):
    model = build(whisper_dir, rank=rank)
    batch = batch_for(model, processor, ["gl", "ca", "fr"])
    before = logits(model, batch)
    adapted = with_lora(model, target_modules=SHARED, modules_to_save=["gate"]).eval()
    torch.testing.assert_close(logits(adapted, batch), before, atol=1e-4, rtol=1e-4)
    for name, buffer in adapted.named_buffers():
        if "modules_to_save" in name and name.endswith("threshold"):
            buffer.fill_(torch.inf)
    changed = logits(adapted, batch)
    with forced_gates(adapted, is_open=False):
        assert torch.equal(logits(adapted, batch), changed)
    shape = (len(model.routed_layers()), len(model.config.languages))
    move_thresholds(model, [torch.full(shape, -torch.inf)], momentum=1.0)
    with forced_gates(adapted, is_open=True):
        opened = logits(adapted, batch)
    assert torch.equal(logits(adapted, batch), opened), "training moves the thresholds that are used"


def opens_gate(layer, states) -> bool:
    """Whether a token of these states takes the expert."""
    gate = layer.experts["gl"].gate
    return bool((gate(states) > gate.threshold).any())


@pytest.mark.parametrize("name", ["fc1", "experts.gl", "experts.gl.fc1", "experts.gl.fc2", "experts.gl.gate"])
@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.parametrize("rank", KINDS.values())
def test_hooks_see_the_tokens_and_change_the_output(whisper_dir, name, tokens, rank):
    model = build(whisper_dir, rank=rank)
    layer, seen = model.model.decoder.layers[0], []
    states = next(states for states in (torch.randn(2, tokens, 32) for _ in range(99)) if opens_gate(layer, states[0]))
    rows = None if tokens > 1 else torch.tensor([0])
    plain = layer._dispatch(states, Routing({"gl": rows}))

    def hook(module, args, output):
        seen.append(module)
        return output + 100.0 if output.dim() == 3 or tokens > 1 else -output  # a gate turns over

    layer.get_submodule(name).register_forward_hook(hook)
    hooked = layer._dispatch(states, Routing({"gl": rows}))
    assert seen and not torch.allclose(hooked, plain, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["layers", "experts"])
def test_compiled_parts_compute_the_same(whisper_dir, processor, part):
    model = build(whisper_dir)
    batch = batch_for(model, processor, ["gl", "ca", "fr"])
    before = logits(model, batch)
    for side in (model.model.encoder, model.model.decoder):
        for index, layer in enumerate(side.layers):
            if part == "layers":
                side.layers[index] = torch.compile(layer, backend="eager")
            else:
                layer.experts["gl"].fc1 = torch.compile(layer.experts["gl"].fc1, backend="eager")
    torch.testing.assert_close(logits(model, batch), before, atol=1e-4, rtol=1e-4)


def test_an_expert_added_to_an_adapted_model_copies_the_adapted_path(whisper_dir, processor):
    model = build(whisper_dir, ["gl"])
    adapted = with_lora(model, target_modules=SHARED, init_lora_weights=False, lora_dropout=0.5).train()
    batch = batch_for(model, processor, ["ca", "fr"])
    adapted.eval()
    before = logits(adapted, batch)
    adapted.train()
    model.add_language("ca")
    assert all(layer.fc1.training for layer in model.routed_layers().values()), "the model's mode is not touched"
    adapted.eval()
    torch.testing.assert_close(logits(adapted, batch), before, atol=1e-4, rtol=1e-4)


def test_a_copy_of_an_adapted_model_computes_the_same(whisper_dir, processor):
    adapted = with_lora(build(whisper_dir), target_modules=["fc1", "fc2"], init_lora_weights=False).eval()
    batch = batch_for(adapted, processor, ["gl", "ca", "fr"])
    assert torch.equal(logits(copy.deepcopy(adapted), batch), logits(adapted, batch))
