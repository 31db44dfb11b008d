"""Settings reach the model that they are for, make another run, and are refused where they do nothing."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from modeling_distilwhisper.commands.training_run.arguments import (
    DataArguments,
    ModelArguments,
    check_arguments,
    open_run,
)
from modeling_distilwhisper.commands.training_run.models import load_student
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments

CPU = torch.device("cpu")
NEW = {"gate_dim": 16, "gate_dropout": 0.1, "expert_dropout": 0.2, "lora_alpha": 8, "lora_dropout": 0.3}


def arguments(student, output="out", **settings):
    model_args = ModelArguments(student=str(student), **({"languages": ["gl"]} | settings))
    training_args = DistilWhisperTrainingArguments(output_dir=str(output), report_to="none")
    return model_args, DataArguments(data=["data"]), training_args


def load(student, **settings):
    checked = arguments(student, **settings)
    check_arguments(*checked)
    return load_student(checked[0], CPU)


def shapes_of(model, language):
    """Gate width, and dropout of gates and experts, as the layers of a language have them."""
    experts = model.experts_of(language).values()
    return {(one.gate.hidden.out_features, one.gate.dropout.p, one.dropout.p) for one in experts}


def test_gate_width_and_dropout_reach_every_layer_and_the_saved_config(whisper_dir, processor, tmp_path):
    model = load(whisper_dir, gate_dim=16, gate_dropout=0.1, expert_dropout=0.2)
    assert shapes_of(model, "gl") == {(16, 0.1, 0.2)}
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert [config[name] for name in ("gate_dim", "gate_dropout", "expert_dropout")] == [16, 0.1, 0.2]


def test_dropout_reaches_experts_that_the_student_has_already(saved):
    """They were made before the settings were known: a config that is changed afterwards would change nothing."""
    model = load(saved, languages=["gl", "ru"], gate_dropout=0.1, expert_dropout=0.2, skip_gate_prob=0.4)
    assert shapes_of(model, "gl") == shapes_of(model, "ru") == {(64, 0.1, 0.2)}
    layer = next(iter(model.routed_layers().values()))
    assert layer.routing_config.skip_gate_prob == 0.4


def test_dropout_of_an_earlier_training_ends_with_it(saved, tmp_path):
    load(saved, gate_dropout=0.1, expert_dropout=0.2).save_pretrained(tmp_path)
    assert shapes_of(load(tmp_path), "gl") == {(64, 0.0, 0.0)}


def test_a_new_language_has_the_width_that_was_asked_for_beside_others(saved, tmp_path):
    model = load(saved, languages=["ru"], gate_dim=16)
    assert shapes_of(model, "ru") == {(16, 0.0, 0.0)} and shapes_of(model, "gl") == {(64, 0.0, 0.0)}
    model.save_pretrained(tmp_path)
    assert shapes_of(load(tmp_path, languages=["fr"]), "ru") == {(16, 0.0, 0.0)}
    assert shapes_of(load(tmp_path, languages=["ru"]), "ru") == {(16, 0.0, 0.0)}, "without the setting, they keep it"


@pytest.mark.parametrize(("name", "value", "has"), [("gate_dim", 16, 64), ("expert_rank", 4, 0)])
def test_a_shape_is_not_ignored_where_the_experts_exist(saved, name, value, has):
    with pytest.raises(ValueError, match=f"--{name} {value} is for new experts. Those of gl have {has}. Leave it out"):
        load(saved, languages=["ru", "gl"], **{name: value})
    with pytest.raises(ValueError, match="--experts_from takes rank and gate width from those experts"):
        load(saved, experts_from="elsewhere", **{name: value})


@pytest.mark.parametrize(("given", "scaling"), [({}, 2.0), ({"lora_alpha": 8}, 2.0), ({"lora_alpha": 3}, 0.75)])
def test_alpha_of_lora_scales_its_update_and_is_twice_the_rank_by_default(whisper_dir, given, scaling):
    pytest.importorskip("peft")
    model = load(whisper_dir, method="lora", lora_rank=4, lora_dropout=0.3, **given)
    layers = [module for module in model.modules() if hasattr(module, "lora_dropout")]
    assert len(layers) == 2 * 4, "fc1 and fc2 of each layer"
    assert {layer.scaling["default"] for layer in layers} == {scaling}
    assert {layer.lora_dropout["default"].p for layer in layers} == {0.3}


def test_lora_has_no_dropout_by_default(whisper_dir):
    pytest.importorskip("peft")
    model = load(whisper_dir, method="lora")
    layers = [module for module in model.modules() if hasattr(module, "lora_dropout")]
    assert {type(layer.lora_dropout["default"]) for layer in layers} == {nn.Identity}


@pytest.mark.parametrize(
    ("method", "name", "part"),
    [
        *((method, name, "gates") for method in ("lora", "finetune") for name in ("gate_dim", "gate_dropout")),
        *((method, "expert_dropout", "experts") for method in ("lora", "finetune")),
        *((method, name, "LoRA") for method in ("experts", "finetune") for name in ("lora_alpha", "lora_dropout")),
    ],
)
def test_a_setting_of_another_method_is_refused_not_ignored(whisper_dir, method, name, part):
    with pytest.raises(ValueError, match=f"--{name} is for {part}, which --method {method} does not have. Leave it"):
        check_arguments(*arguments(whisper_dir, method=method, **{name: NEW[name]}))


@pytest.mark.parametrize("name", NEW)
def test_each_setting_makes_another_run(whisper_dir, tmp_path, name):
    open_run(*arguments(whisper_dir, tmp_path))
    with pytest.raises(ValueError, match=f"run with other settings: {name} .*, now {NEW[name]}"):
        open_run(*arguments(whisper_dir, tmp_path, **{name: NEW[name]}))


def test_a_run_from_before_these_settings_is_continued(whisper_dir, tmp_path):
    run = open_run(*arguments(whisper_dir, tmp_path))
    settings = run.read("settings.json")
    run.write("settings.json", settings | {"model": {k: v for k, v in settings["model"].items() if k not in NEW}})
    assert open_run(*arguments(whisper_dir, tmp_path)).folder == tmp_path
    with pytest.raises(ValueError, match="gate_dropout 0.0, now 0.1"):
        open_run(*arguments(whisper_dir, tmp_path, gate_dropout=0.1))


def test_the_settings_of_experts_have_the_defaults_of_a_model_made_without_them(fresh):
    defaults = {field.name: field.default for field in dataclasses.fields(ModelArguments)}
    for name in ("gate_dim", "gate_dropout", "expert_dropout"):
        assert defaults[name] == getattr(fresh.config, name)
