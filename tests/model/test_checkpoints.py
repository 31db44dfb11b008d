"""Saved models are loaded unchanged: complete, in part, without the backbone."""

import json
from pathlib import Path

import pytest
import torch
from helpers import tiny
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    WhisperForConditionalGeneration,
)

import modeling_distilwhisper
from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperForConditionalGeneration


def test_a_folder_holds_whispers_keys_and_one_file_a_language(saved, whisper):
    names = {path.name for path in saved.iterdir()}
    assert {"config.json", "model.safetensors", "expert.gl.safetensors", "expert.ca.safetensors"} <= names
    code = {path.name for path in Path(modeling_distilwhisper.__file__).parent.glob("*_distilwhisper.py")}
    assert {name for name in names if name.endswith(".py")} == code
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".partial"))]
    assert load_file(saved / "model.safetensors").keys() == whisper.state_dict().keys() - {"proj_out.weight"}
    per_layer = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    per_layer |= {"gate.hidden.weight", "gate.hidden.bias", "gate.score.weight", "gate.threshold"}
    expected = {
        f"model.{side}.layers.{index}.experts.gl.{name}"
        for side in ("encoder", "decoder")
        for index in (0, 1)
        for name in per_layer
    }
    with safe_open(saved / "expert.gl.safetensors", framework="pt") as file:
        assert set(file.keys()) == expected
        assert file.metadata()["language"] == "gl" and file.metadata()["distilwhisper_version"] == "1"
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "distilwhisper" and config["languages"] == ["gl", "ca"]


@pytest.mark.parametrize("how", [DistilWhisperForConditionalGeneration, AutoModelForSpeechSeq2Seq])
def test_loaded_outputs_are_the_saved_ones(model, saved, processor, how):
    loaded = how.from_pretrained(saved)
    assert type(loaded) is DistilWhisperForConditionalGeneration and not loaded.training
    assert torch.equal(tiny.logits_of(loaded, processor), tiny.logits_of(model, processor))


@pytest.mark.parametrize("how", [DistilWhisperForConditionalGeneration, AutoModelForSpeechSeq2Seq])
def test_a_subset_equals_the_whole_and_opens_no_other_file(model, saved, processor, how, whisper):
    (saved / "expert.ca.safetensors").write_bytes(b"opening me would fail")
    loaded = how.from_pretrained(saved, languages=["gl"])
    assert loaded.config.languages == ["gl"]
    ours, theirs = tiny.logits_of(loaded, processor), tiny.logits_of(model, processor)
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-4, rtol=1e-4)
    plain = tiny.logits_of(whisper, processor)
    torch.testing.assert_close(ours[1:], plain[1:], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="expert.ca.safetensors is not a complete safetensors file"):
        how.from_pretrained(saved)


@pytest.mark.parametrize("how", [DistilWhisperForConditionalGeneration, AutoModelForSpeechSeq2Seq])
def test_no_languages_is_plain_whisper(saved, processor, whisper, how):
    for path in saved.glob("expert.*"):
        path.unlink()
    loaded = how.from_pretrained(saved, languages=[])
    assert torch.equal(tiny.logits_of(loaded, processor), tiny.logits_of(whisper, processor))


def test_a_plain_whisper_loads_from_the_same_folder(saved, processor, whisper):
    plain = WhisperForConditionalGeneration.from_pretrained(saved)
    assert torch.equal(tiny.logits_of(plain, processor), tiny.logits_of(whisper, processor))


def test_without_the_backbone_it_comes_from_the_base_model(model, processor, tmp_path, whisper_dir):
    model.save_pretrained(tmp_path / "experts", save_backbone=False)
    names = {path.name for path in (tmp_path / "experts").iterdir()}
    assert "model.safetensors" not in names and "modeling_distilwhisper.py" in names
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "experts")
    assert torch.equal(tiny.logits_of(loaded, processor), tiny.logits_of(model, processor))
    assert loaded.generation_config.lang_to_id == model.generation_config.lang_to_id
    settings = json.loads((tmp_path / "experts/generation_config.json").read_text()) | {"max_length": 33}
    (tmp_path / "experts/generation_config.json").write_text(json.dumps(settings))
    again = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "experts")
    assert again.generation_config.max_length == 33, "the folder's, not its backbone's"

    config = json.loads((tmp_path / "experts/config.json").read_text())
    config["base_model_name_or_path"] = None
    (tmp_path / "experts/config.json").write_text(json.dumps(config))
    with pytest.raises(OSError, match="holds no model.safetensors, and its config names no"):
        DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "experts")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loads_saves_and_loads_again(saved, processor, tmp_path, dtype):
    half = DistilWhisperForConditionalGeneration.from_pretrained(saved, dtype=dtype)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    half.save_pretrained(tmp_path / "half")
    again = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "half", dtype=dtype)
    for name, tensor in half.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    again.remove_language("gl")
    again.load_experts(saved, "gl")  # made in full precision, on the same backbone


def test_low_rank_experts_are_saved_small_and_load_beside_full_ones(whisper_dir, saved, processor, tmp_path):
    low = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["ru"], expert_rank=4)
    tiny.unsettle(low)
    low.save_experts(tmp_path)
    tensors = load_file(tmp_path / "expert.ru.safetensors")
    assert tensors["model.encoder.layers.0.experts.ru.fc1.down.weight"].shape == (4, 32)
    assert (tmp_path / "expert.ru.safetensors").stat().st_size < (saved / "expert.gl.safetensors").stat().st_size
    both = DistilWhisperForConditionalGeneration.from_pretrained(saved)
    both.load_experts(tmp_path, "ru")
    ours, theirs = tiny.logits_of(both, processor, ["ru", "gl"]), tiny.logits_of(low, processor, ["ru"])
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-4, rtol=1e-4)
    both.save_pretrained(tmp_path / "both")
    again = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "both")
    assert torch.equal(tiny.logits_of(again, processor, ["ru", "gl"]), ours)


def test_auto_classes_know_the_type(saved):
    assert type(AutoConfig.from_pretrained(saved)) is DistilWhisperConfig
    assert type(AutoProcessor.from_pretrained(saved)).__name__ == "WhisperProcessor"


def test_settings_given_on_loading_win(saved):
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(saved, gate_budget=0.25)
    assert loaded.config.gate_budget == 0.25


def test_a_removed_language_is_plain_whisper_again(model, processor, whisper):
    model.remove_language("gl")
    model.remove_language("ca")
    assert torch.equal(tiny.logits_of(model, processor), tiny.logits_of(whisper, processor))
    assert not [name for name in model.state_dict() if ".experts." in name]


@pytest.mark.parametrize("how", [DistilWhisperForConditionalGeneration, AutoModelForSpeechSeq2Seq])
def test_loading_takes_what_any_loading_takes(saved, how, whisper_dir):
    assert how.from_pretrained(saved, dtype="auto").dtype == torch.float32
    assert how.from_pretrained(saved, languages=None).config.languages == ["gl", "ca"]
    loaded, info = how.from_pretrained(saved, languages=["gl"], output_loading_info=True)
    assert loaded.config.languages == ["gl"]
    assert not info["missing_keys"]


def test_the_backbone_comes_frozen_and_the_callers_config_stays(saved, whisper_dir):
    config = AutoConfig.from_pretrained(saved)
    for model in (
        DistilWhisperForConditionalGeneration.from_pretrained(saved, config=config),
        DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"]),
    ):
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == (".experts." in name), name
    assert config.languages == ["gl", "ca"]


def test_making_experts_takes_what_any_loading_takes(whisper_dir):
    make = DistilWhisperForConditionalGeneration.from_whisper
    assert make(whisper_dir, languages=["gl"], dtype="auto").dtype == torch.float32
    model, info = make(whisper_dir, languages=["gl"], output_loading_info=True)
    assert model.config.languages == ["gl"]
    assert "missing_keys" in info


def test_a_variant_of_the_weights_is_found(model, processor, tmp_path):
    model.save_pretrained(tmp_path, variant="fp16")
    assert not (tmp_path / "model.safetensors").exists()
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path, variant="fp16")
    assert torch.equal(tiny.logits_of(loaded, processor), tiny.logits_of(model, processor))


def test_a_given_state_is_what_is_saved(model, tmp_path):
    state = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    assert not any(tensor.any() for tensor in load_file(tmp_path / "expert.gl.safetensors").values())


def test_a_push_without_the_backbone_names_the_way_to_do_that(model, tmp_path):
    with pytest.raises(ValueError, match="`push_to_hub` needs `save_backbone=True`.*`push_experts_to_hub`"):
        model.save_pretrained(tmp_path, push_to_hub=True, save_backbone=False)


# What does not fit


def test_plain_whisper_and_distilwhisper_folders_are_told_apart(whisper_dir, saved):
    with pytest.raises(ValueError, match="expected a 'distilwhisper'.*use `from_whisper"):
        DistilWhisperForConditionalGeneration.from_pretrained(whisper_dir)
    with pytest.raises(ValueError, match="expected a plain Whisper"):
        DistilWhisperForConditionalGeneration.from_whisper(saved, languages=["gl"])


def test_an_interrupted_save_leaves_the_old_experts_whole(model, saved, monkeypatch):
    before = (saved / "expert.gl.safetensors").read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half of")
        raise OSError("No space left on device")

    monkeypatch.setattr("modeling_distilwhisper.expert_file_distilwhisper.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save_experts(saved)
    assert (saved / "expert.gl.safetensors").read_bytes() == before
    assert not list(saved.glob("*.partial")) and not list(saved.glob(".*"))


def test_labels_are_distinguished_from_decoder_inputs(model, processor):
    batch = tiny.make_audio(processor, [1.0])
    ids = processor.tokenizer.convert_tokens_to_ids
    with pytest.raises(ValueError, match="begin with the start token"):
        model(**batch, labels=torch.tensor([[ids("<|startoftranscript|>"), ids("<|gl|>"), 5]]))
    model.train()
    for first in (5, ids("<|fr|>")):
        with pytest.raises(ValueError, match=rf"The language of row 1 \(token {first}\) has no expert"):
            model(
                input_features=batch["input_features"].repeat(2, 1, 1),
                labels=torch.tensor([[ids("<|gl|>"), 5], [first, 6]]),
            )


def test_arguments_of_loading_with_a_wrong_name_are_refused(model, saved):
    with pytest.raises(TypeError, match=r"Unknown arguments \['revison'\]. Expected some of: cache_dir, "):
        model.load_experts(saved, "ca", revison="main")
