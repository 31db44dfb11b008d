"""A run of low-rank experts ends as it was begun: with biases that learn, as before, or with frozen ones."""

import pytest
import torch
from helpers import tiny
from helpers.training import load, make_trainer

SETTINGS = {"max_steps": 4, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "save_total_limit": 3}


def biases(model, language):
    named = model.named_parameters()
    return [weight for name, weight in named if f".experts.{language}." in name and name.endswith("up.bias")]


@pytest.mark.parametrize("learn", [True, False])
def test_a_resumed_run_of_low_rank_experts_ends_as_the_unbroken_one(
    whisper_dir, processor, recordings, tmp_path, learn
):
    """Also beside a language that is not trained, whose biases stay in both cases."""

    def start(checkpoint=None):
        model = load(whisper_dir, expert_rank=4)
        settings = {**SETTINGS, "load_best_model_at_end": False}
        trainer = make_trainer(model, processor, recordings, tmp_path, ("gl",), **settings)
        if learn and checkpoint is None:
            for bias in biases(model, "gl"):
                bias.requires_grad_(True)
        trainer.train(checkpoint)
        return model

    unbroken = start()
    expected = tiny.state_of(unbroken)
    resumed = start(str(tmp_path / "checkpoint-2"))
    for name, tensor in tiny.state_of(resumed).items():
        assert torch.equal(tensor, expected[name]), name
    assert all(bias.any() == learn for bias in biases(resumed, "gl"))
    assert not any(bias.any() for bias in biases(resumed, "ca"))
