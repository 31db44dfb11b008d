"""A share of tokens is not taken for what the gates have learned where the budget has set it."""

import pytest
import torch
from helpers import tiny
from helpers.training import load, make_trainer

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import BUDGET, LEARNED, NEW, usage_set_by

BRIEF = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


@pytest.mark.parametrize(("gates", "before", "after"), [("hard", NEW, BUDGET), ("soft", LEARNED, LEARNED)])
def test_thresholds_say_how_gates_were_trained(whisper_dir, processor, recordings, tmp_path, gates, before, after):
    model = load(whisper_dir, gate_training=gates)
    assert usage_set_by(model, "gl") == usage_set_by(model, "ca") == before
    make_trainer(model, processor, recordings, tmp_path / "run", **BRIEF).train()
    assert usage_set_by(model, "gl") == after and usage_set_by(model, "ca") == before, "only gl was trained"
    model.save_pretrained(tmp_path / "saved", dtype=torch.float16)
    assert usage_set_by(DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "saved"), "gl") == after


def test_each_language_is_asked_not_the_last_setting_of_the_model(fresh):
    """A language may be added with soft gates to a model with hard ones: the config has one `gate_training`."""
    tiny.unsettle_language(fresh, "ca")  # thresholds of 0
    for expert in fresh.experts_of("gl").values():
        expert.gate.threshold.fill_(0.25)
    for setting in ("hard", "soft"):
        fresh.config.gate_training = setting
        assert usage_set_by(fresh, "gl") == BUDGET and usage_set_by(fresh, "ca") == LEARNED
    with pytest.raises(ValueError, match="No expert of 'ru' is loaded"):
        usage_set_by(fresh, "ru")
