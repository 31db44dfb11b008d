"""Low-rank experts without gates are LoRA for one language: they learn the same, and the other languages stay."""

import pytest
import torch
from helpers import tiny
from helpers.training import load, make_trainer

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import BUDGET, measure_expert_usage, usage_set_by
from modeling_distilwhisper.training.gate_budget import FOR_ALL
from modeling_distilwhisper.training.lora import with_lora

RANK = 4


@pytest.fixture
def open_experts(whisper_dir):
    """Experts of Galician, whose gates a budget of 1 leaves open."""
    return load(whisper_dir, ["gl"], expert_rank=RANK, gate_budget=1.0, skip_gate_prob=0.0)


def test_they_learn_what_lora_learns(open_experts, whisper, processor, recordings, tmp_path):
    pytest.importorskip("peft")
    lora = with_lora(whisper, RANK, alpha=RANK)
    pairs = []
    for key, layer in open_experts.routed_layers().items():
        side, index = key
        adapted = lora.base_model.model.get_submodule(f"model.{side}.layers.{index}")
        for name in ("fc1", "fc2"):
            ours = getattr(layer.experts["gl"], name)
            theirs = getattr(adapted, name)
            theirs.lora_A["default"].weight.data.copy_(ours.down.weight)
            pairs += [(ours.down.weight, theirs.lora_A["default"].weight)]
            pairs += [(ours.up.weight, theirs.lora_B["default"].weight)]
    before = [ours.detach().clone() for ours, _ in pairs]
    for model, folder in ((open_experts, "experts"), (lora, "lora")):
        make_trainer(model, processor, recordings, tmp_path / folder, num_train_epochs=1).train()
    assert not any(torch.equal(ours, old) for (ours, _), old in zip(pairs, before, strict=True)), "all learned"
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    biases = [weight for name, weight in open_experts.named_parameters() if name.endswith("up.bias")]
    assert biases and not any(bias.any() for bias in biases), "LoRA has none"


def test_biases_of_a_compressed_expert_stay_in_further_training(open_experts, processor, recordings, tmp_path):
    """They are what the full expert has learned."""

    def biases_of(model) -> list[torch.nn.Parameter]:
        return [weight for name, weight in model.named_parameters() if name.endswith("up.bias")]

    for bias in biases_of(open_experts):
        bias.data.fill_(0.1)
    before = tiny.state_of(open_experts)
    make_trainer(open_experts, processor, recordings, tmp_path / "run", num_train_epochs=1).train()
    assert all((bias == 0.1).all() for bias in biases_of(open_experts))
    assert any(not torch.equal(before[name], tensor) for name, tensor in open_experts.state_dict().items())
    open_experts.save_pretrained(tmp_path / "model")
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "model")
    loaded.add_language("ca")
    assert len(biases_of(loaded)) == 2 * len(biases_of(open_experts))
    assert not any(bias.requires_grad for bias in biases_of(loaded))


def test_they_start_as_lora_does_whose_update_is_doubled(whisper_dir, whisper):
    """At Whisper's own deviation, the wide input of fc2 moved its matrices further than the narrow one of fc1."""
    pytest.importorskip("peft")
    rank = 24
    experts, lora = load(whisper_dir, ["gl"], expert_rank=rank), with_lora(whisper, rank, alpha=2 * rank)
    for (side, index), layer in experts.routed_layers().items():
        adapted = lora.base_model.model.get_submodule(f"model.{side}.layers.{index}")
        for name in ("fc1", "fc2"):
            ours = getattr(layer.experts["gl"], name).down.weight
            theirs = getattr(adapted, name).lora_A["default"].weight
            # Twice the update is sqrt(2) times each matrix.
            assert ours.abs().max().item() == pytest.approx(2**0.5 * theirs.abs().max().item(), rel=0.03)
            assert ours.std().item() == pytest.approx(2**0.5 * theirs.std().item(), rel=0.1)


def test_a_budget_of_1_closes_the_gate_for_no_token_and_survives_saving(
    open_experts, whisper, processor, recordings, tmp_path
):
    """The lowest logit of a batch as threshold closed it for tokens of other recordings."""
    make_trainer(open_experts, processor, recordings, tmp_path / "run").train()
    open_experts.save_pretrained(tmp_path / "model")
    model = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "model").eval()
    labels = torch.tensor([[model.generation_config.lang_to_id["<|gl|>"], 5, 6, 7]] * 2)
    batch = tiny.make_audio(processor, [0.7, 1.9], seed=7)
    usage = measure_expert_usage(model, [{**batch, "labels": labels}])
    assert set(usage.values()) == {1.0}
    assert usage_set_by(model, "gl") == BUDGET, "they are no new gates"
    other = {**batch, "labels": labels.clone()}
    other["labels"][:, 0] = model.generation_config.lang_to_id["<|fr|>"]
    with torch.inference_mode():
        assert torch.equal(model(**other).logits, whisper(**other).logits), "another language is Whisper's, bit for bit"


def test_a_budget_that_is_changed_counts_from_the_next_step_on(open_experts, processor, recordings, tmp_path):
    """From a threshold far below all logits, small moves would take hundreds of steps."""
    settings = {"num_train_epochs": 1, "eval_strategy": "no", "save_strategy": "no"}
    thresholds = lambda: [layer.experts["gl"].gate.threshold.item() for layer in open_experts.routed_layers().values()]  # noqa: E731
    make_trainer(open_experts, processor, recordings, tmp_path / "all", **settings).train()
    assert set(thresholds()) == {FOR_ALL}
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.tensor(FOR_ALL, dtype=dtype).item() == FOR_ALL
    open_experts.config.gate_budget = 0.5
    make_trainer(open_experts, processor, recordings, tmp_path / "half", **settings).train()
    assert all(abs(threshold) < 100 for threshold in thresholds())
    open_experts.config.gate_budget = 1.0
    make_trainer(open_experts, processor, recordings, tmp_path / "again", **settings).train()
    assert set(thresholds()) == {FOR_ALL}
