"""What has to be fetched to run a model: no file is forgotten, and none of another language counts."""

import json
import os
import shutil

import pytest
from helpers import tiny
from peft import LoraConfig, get_peft_model
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_model
from modeling_distilwhisper.runs.any_whisper import expert_languages
from modeling_distilwhisper.runs.download_size import DownloadSize, download_size


@pytest.fixture
def routed(whisper_dir, processor, tmp_path):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"])
    tiny.unsettle(model)
    model.save_pretrained(tmp_path / "routed")
    processor.save_pretrained(tmp_path / "routed")
    return tmp_path / "routed"


def size(*path) -> int:
    return os.path.getsize(os.path.join(*path))


def test_a_plain_whisper_needs_its_weights_and_nothing_for_another_language(whisper_dir):
    expected = DownloadSize("plain Whisper", size(whisper_dir, "model.safetensors"), 0)
    assert download_size(str(whisper_dir), ["gl"]) == expected


def test_experts_need_the_backbone_and_the_files_of_their_languages_alone(routed):
    backbone, gl, ca = (
        size(routed, name) for name in ("model.safetensors", "expert.gl.safetensors", "expert.ca.safetensors")
    )
    assert download_size(str(routed), ["gl"]) == DownloadSize("language experts", backbone + gl, gl)
    both = download_size(str(routed), ["gl", "ca"])
    assert both == DownloadSize("language experts", backbone + gl + ca, round((gl + ca) / 2))
    assert download_size(str(routed), ["fr"]) == DownloadSize("language experts", backbone, 0)


def test_experts_without_a_backbone_need_that_of_their_whisper(routed, whisper_dir, tmp_path):
    model = DistilWhisperForConditionalGeneration.from_pretrained(routed)
    model.config.base_model_name_or_path = str(whisper_dir)
    model.save_pretrained(tmp_path / "alone", save_backbone=False)
    assert not (tmp_path / "alone/model.safetensors").exists()
    assert download_size(str(tmp_path / "alone"), ["gl"]).total == download_size(str(routed), ["gl"]).total


def test_an_adapter_needs_its_whisper_and_is_all_that_another_language_needs(whisper_dir, tmp_path):
    plain = WhisperForConditionalGeneration.from_pretrained(whisper_dir)
    get_peft_model(plain, LoraConfig(r=4, target_modules=["fc1", "fc2"])).save_pretrained(tmp_path)
    adapter = size(tmp_path, "adapter_model.safetensors")
    found = download_size(str(tmp_path), ["gl"])
    assert found == DownloadSize("LoRA", size(whisper_dir, "model.safetensors") + adapter, adapter)


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("export.json", {"way": "experts"}, "one language"),
        ("results.json", {"settings": {"model": {"method": "finetune"}}}, "one language"),
        ("results.json", {"settings": {"model": {"method": "experts"}}}, "plain Whisper"),
        ("results.json", {"settings": []}, "plain Whisper"),
    ],
)
def test_a_whisper_that_was_changed_for_one_language_is_needed_anew_for_another(
    file, content, kind, whisper_dir, tmp_path
):
    shutil.copytree(whisper_dir, tmp_path / "model")
    (tmp_path / "model" / file).write_text(json.dumps(content))
    found = download_size(str(tmp_path / "model"), ["gl"])
    assert found.kind == kind and found.another_language == (found.total if kind == "one language" else 0)


def test_all_parts_of_weights_that_were_cut_count(whisper_dir, tmp_path):
    WhisperForConditionalGeneration.from_pretrained(whisper_dir).save_pretrained(tmp_path, max_shard_size="100KB")
    parts = [*tmp_path.glob("model-*.safetensors")]
    assert len(parts) > 1
    assert download_size(str(tmp_path), ["gl"]).total == sum(map(os.path.getsize, parts))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(OSError, match="has no weights of a Whisper"):
        download_size(str(tmp_path), ["gl"])


def test_a_model_is_loaded_with_the_experts_of_the_languages_that_one_names(routed, whisper_dir):
    assert expert_languages(str(routed)) == ["gl", "ca"] and expert_languages(str(whisper_dir)) == []
    assert load_model(str(routed)).config.languages == ["gl", "ca"]
    assert load_model(str(routed), languages=["ca", "fr"]).config.languages == ["ca"]
    assert type(load_model(str(whisper_dir), languages=["ca"])).__name__ == "WhisperForConditionalGeneration"
