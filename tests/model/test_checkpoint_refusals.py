"""Files that do not fit a model are refused by name, and leave it as it was."""

import json
import shutil

import pytest
import torch
from helpers import tiny
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (
    WhisperConfig,
)

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.fingerprint_distilwhisper import fingerprint


def test_a_configuration_of_another_kind_is_refused(saved):
    with pytest.raises(ValueError, match="Expected a DistilWhisperConfig, got a WhisperConfig"):
        DistilWhisperForConditionalGeneration.from_pretrained(saved, config=WhisperConfig())


def test_a_path_that_is_no_folder_is_refused(model, saved):
    for path in ("/no/such/folder", saved / "expert.gl.safetensors"):
        with pytest.raises(OSError, match="is neither a folder nor a reachable Hub repository with experts"):
            model.load_experts(path, "ru")


def test_a_backbone_that_is_gone_is_named_with_the_setting_that_names_it(fresh, whisper_dir, tmp_path):
    shutil.copytree(whisper_dir, tmp_path / "w")
    moved = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "w", languages=["gl"])
    moved.save_pretrained(tmp_path / "experts", save_backbone=False)
    shutil.rmtree(tmp_path / "w")
    with pytest.raises(OSError, match="holds experts alone, and its backbone, .*w, could not be loaded"):
        DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "experts")


def test_the_fingerprint_reaches_the_last_weight_of_a_large_matrix(model):
    """An embedding has more weights than single precision counts."""
    embedding = model.model.decoder.embed_tokens
    embedding.weight = torch.nn.Parameter(torch.zeros(51_865, 512, dtype=torch.float16))
    embedding.weight.data[-1, -1] = 1.0
    weights = json.loads(fingerprint(model))["weights"]["decoder.embed_tokens.weight"]
    assert weights == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["encoder_attn.q_proj", "self_attn.q_proj", "embed_tokens", "fc2"])
def test_a_backbone_changed_anywhere_is_another_backbone(saved, processor, tmp_path, name):
    other = tiny.make_whisper(processor)
    for key, parameter in other.named_parameters():
        if name in key and key.endswith("weight"):
            parameter.data += 1e-5
    other.save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[])
    with pytest.raises(ValueError, match=f"{name}.weight differs"):
        model.load_experts(saved, "gl")


def test_a_missing_expert_names_those_that_are_there(saved):
    with pytest.raises(OSError, match=r"no expert.ru.safetensors. Languages it has experts for: ca, gl"):
        DistilWhisperForConditionalGeneration.from_pretrained(saved, languages=["ru"])


def test_a_language_that_is_there_already_or_is_not_there_is_refused(model):
    with pytest.raises(ValueError, match="loaded already"):
        model.add_language("gl")
    with pytest.raises(ValueError, match="No expert of 'ru' is loaded. Loaded: gl, ca"):
        model.remove_language("ru")


@pytest.mark.parametrize("code", ["../gl", "gl/../../etc", "galician", "gl ", "", "g.l", "de-CH/../gl", "de--CH"])
def test_no_code_becomes_a_path_unchecked(model, saved, tmp_path, code):
    for action in (
        lambda: model.load_experts(saved, code),
        lambda: model.add_language(code),
        lambda: model.save_experts(tmp_path, [code]),
        lambda: DistilWhisperForConditionalGeneration.from_pretrained(saved, languages=[code]),
    ):
        with pytest.raises(ValueError, match="is not a language code"):
            action()


def test_a_string_of_languages_is_refused(saved):
    with pytest.raises(ValueError, match=r"must be a list of codes, got 'gl'. Write \['gl'\]"):
        DistilWhisperForConditionalGeneration.from_pretrained(saved, languages="gl")


def test_experts_of_another_backbone_are_refused_by_its_weights(saved, processor, tmp_path):
    other = tiny.make_whisper(processor)
    with torch.no_grad():  # as a step of fine-tuning would
        for parameter in other.parameters():
            parameter += 1e-5 * torch.randn_like(parameter)
    other.save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[])
    with pytest.raises(
        ValueError, match="made on another backbone .*whisper.* than this one .*other.*fc1.weight differs"
    ):
        model.load_experts(saved, "gl")


def test_experts_of_another_shape_are_refused_by_their_dimensions(saved, processor, tmp_path):
    tiny.make_whisper(processor, decoder_layers=1).save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[])
    with pytest.raises(ValueError, match="with decoder_layers 2, and this one has 1"):
        model.load_experts(saved, "gl")


def rewrite(path, change):
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    change(metadata, tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: t.pop("model.encoder.layers.0.experts.gl.gate.score.weight"), "missing tensors .*gate.score"),
        (lambda m, t: t.update(stranger=torch.ones(1)), "unexpected tensors .*stranger"),
        (lambda m, t: m.update(language="ca"), "holds the experts of 'ca', expected 'gl'"),
        (lambda m, t: m.update(distilwhisper_version="7"), "not an expert file of version 1"),
        (lambda m, t: m.pop("fingerprint"), "does not say which backbone"),
        (lambda m, t: m.update(fingerprint="{}"), "does not say which backbone"),
        (lambda m, t: m.update(fingerprint='{"dtype": "float32", "weights": {}}'), "does not say which backbone"),
        (
            lambda m, t: t.update({"model.encoder.layers.0.experts.gl.fc1.bias": torch.ones(48, dtype=torch.int8)}),
            r"fc1.bias holds I8, expected floating-point numbers",
        ),
        (
            lambda m, t: t.update({"model.encoder.layers.0.experts.gl.fc1.bias": torch.full((48,), torch.nan)}),
            r"fc1.bias holds NaN or infinity",
        ),
        (
            lambda m, t: t.update({"model.encoder.layers.0.experts.gl.fc1.bias": torch.ones(3)}),
            r"fc1.bias has shape \(3,\), expected \(48,\)",
        ),
        (lambda m, t: m.clear(), "not an expert file"),
        (lambda m, t: m.update(gate_dim="sixty-four"), "gate_dim"),
    ],
)
def test_a_foreign_or_damaged_expert_file_is_refused(saved, change, message):
    rewrite(saved / "expert.gl.safetensors", change)
    with pytest.raises(ValueError, match=message):
        DistilWhisperForConditionalGeneration.from_pretrained(saved, languages=["gl"])


def test_a_refused_file_leaves_the_model_as_it_was(model, saved, processor):
    model.save_experts(saved.parent / "copy")
    rewrite(saved / "expert.gl.safetensors", lambda m, t: t.update(stranger=torch.ones(1)))
    before = tiny.logits_of(model, processor)
    with pytest.raises(ValueError, match="unexpected tensors"):
        model.reload_experts(saved)
    model.remove_language("gl")
    with pytest.raises(ValueError, match="unexpected tensors"):
        model.load_experts(saved, "gl")
    model.load_experts(saved.parent / "copy", "gl")
    assert torch.equal(tiny.logits_of(model, processor), before)
