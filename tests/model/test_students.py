"""Whispers as they are on the Hub: without generation config, with pickled weights alone, for English alone."""

import json
import shutil

import pytest
import torch
from helpers import speech, tiny
from helpers.scripts import run_command
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import (
    DistilWhisperForConditionalGeneration,
    DistilWhisperModel,
    load_model,
    load_teacher,
    transcribe_clips,
)
from modeling_distilwhisper.languages_distilwhisper import complete_generation_config, known_languages


def without_generation_config(folder):
    (folder / "generation_config.json").unlink()


def with_generation_config_of_before(folder):
    """As saved by a Transformers that did not know languages."""
    kept = ("pad_token_id", "eos_token_id", "decoder_start_token_id", "suppress_tokens", "begin_suppress_tokens")
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({name: settings[name] for name in kept}))


def with_pickled_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_pickled_weights_in_parts(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for part, part_names in parts.items():
        torch.save({name: tensors[name] for name in part_names}, folder / part)
    weight_map = {name: part for part, part_names in parts.items() for name in part_names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def as_old_as_can_be(folder):
    without_generation_config(folder)
    with_pickled_weights(folder)


OLD = [
    without_generation_config,
    with_generation_config_of_before,
    with_pickled_weights,
    with_pickled_weights_in_parts,
    as_old_as_can_be,
]


@pytest.fixture
def copied(whisper_dir, tmp_path):
    return shutil.copytree(whisper_dir, tmp_path / "copied")


@pytest.mark.parametrize("make_old", OLD)
@pytest.mark.parametrize("kind", [DistilWhisperForConditionalGeneration, DistilWhisperModel])
def test_experts_are_put_on_an_old_whisper_as_on_a_new_one(copied, whisper_dir, tmp_path, make_old, kind):
    make_old(copied)
    old, new = (kind.from_whisper(folder, languages=["gl"]) for folder in (copied, whisper_dir))
    assert known_languages(old) == known_languages(new)
    assert old.config.translate_token_id == new.config.translate_token_id is not None
    assert old.config.experts_by_token == new.config.experts_by_token
    old.save_pretrained(tmp_path / "saved")
    assert not [*(tmp_path / "saved").glob("*.bin")], "the weights are converted"
    loaded = kind.from_pretrained(tmp_path / "saved")
    assert known_languages(loaded) == known_languages(new), "the next who loads it needs no tokenizer for that"
    shared = new.state_dict()
    assert all(torch.equal(weight, shared[name]) for name, weight in loaded.state_dict().items() if "gate" not in name)


@pytest.mark.parametrize("make_old", OLD)
def test_experts_alone_find_an_old_backbone(copied, model, tmp_path, make_old):
    make_old(copied)
    model.config.base_model_name_or_path = str(copied)
    model.generation_config.lang_to_id = None  # as of a model whose experts were saved without it
    model.save_pretrained(tmp_path / "experts", save_backbone=False)
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "experts")
    assert known_languages(loaded).keys() == set(tiny.LANGUAGES)


@pytest.mark.parametrize("make_old", OLD)
def test_an_old_whisper_transcribes_and_teaches_in_the_language_that_is_asked_for(
    copied, whisper_dir, processor, make_old
):
    make_old(copied)
    clips = [speech.tone(300, 1.0), speech.tone(800, 1.0)]
    old, new = (load_model(str(folder)) for folder in (copied, whisper_dir))
    for name in ("suppress_tokens", "begin_suppress_tokens", "max_length", "max_initial_timestamp_index"):
        setattr(old.generation_config, name, getattr(new.generation_config, name))
    for languages in (["gl", "ca"], [None, None]):
        ours, theirs = (
            transcribe_clips(one, processor, clips, languages, return_timestamps=False, max_new_tokens=3)
            for one in (old, new)
        )
        assert ours == theirs
    assert known_languages(load_teacher(str(copied)).model) == known_languages(new)


@pytest.mark.parametrize("kind", [DistilWhisperForConditionalGeneration.from_whisper, load_model])
def test_a_pickle_that_would_run_code_is_refused_in_a_sentence_and_runs_nothing(copied, tmp_path, kind):
    with_pickled_weights(copied)
    # As large as the model: a smaller file would be refused for its size.
    torch.save({"a": Bomb(tmp_path / "ran"), "b": torch.zeros(200_000)}, copied / "pytorch_model.bin")
    arguments = {} if kind is load_model else {"languages": ["gl"]}
    with pytest.raises(ValueError, match="damaged, or holds more than tensors. It was not loaded"):
        kind(str(copied), **arguments)
    assert not (tmp_path / "ran").exists()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_whisper_without_any_word_on_languages_says_what_to_copy(copied):
    without_generation_config(copied)
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (copied / name).unlink()
    with pytest.raises(ValueError, match=r"does not say which tokens are languages.*Copy tokenizer.json"):
        DistilWhisperForConditionalGeneration.from_whisper(copied, languages=["gl"])
    with pytest.raises(ValueError, match="does not say which tokens are languages"):
        known_languages(load_model(str(copied)))


def test_a_whisper_that_was_saved_with_a_list_of_one_end_token_can_write_timestamps(copied):
    file = copied / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    end = settings["eos_token_id"]
    file.write_text(json.dumps(settings | {"eos_token_id": [end]}), encoding="utf-8")
    model = DistilWhisperForConditionalGeneration.from_whisper(copied, languages=["gl"])
    for loaded in (model, load_model(str(copied), "float32", "cpu")):
        assert loaded.generation_config.eos_token_id == end
    both = json.loads(file.read_text(encoding="utf-8")) | {"eos_token_id": [end, end - 1]}
    file.write_text(json.dumps(both), encoding="utf-8")
    several = load_model(str(copied), "float32", "cpu")
    assert several.generation_config.eos_token_id == [end, end - 1], "nobody asked for another end"


@pytest.mark.parametrize("says_so", [True, False])
def test_an_english_whisper_is_called_so_and_is_never_asked_for_a_language(whisper_dir, says_so):
    model = WhisperForConditionalGeneration.from_pretrained(whisper_dir)
    del model.generation_config.lang_to_id, model.generation_config.task_to_id, model.generation_config.is_multilingual
    if says_so:
        model.generation_config.is_multilingual = False
    else:
        model.config.vocab_size = 51864  # its tokenizer lists the languages, as those of multilingual ones do
    model.generation_config = complete_generation_config(model.generation_config, model.config, str(whisper_dir))
    assert not model.generation_config.is_multilingual
    with pytest.raises(ValueError, match="is a Whisper for English alone. Expected a multilingual one"):
        known_languages(model)


def test_a_transcript_by_an_old_whisper_is_not_cut_after_twenty_tokens(copied):
    without_generation_config(copied)
    assert load_model(str(copied)).generation_config.max_length == 64


@pytest.mark.slow
def test_the_training_command_takes_an_old_whisper_as_student_and_teacher(copied, tmp_path):
    as_old_as_can_be(copied)
    data = speech.write_folder(tmp_path / "data", "gl", rows=4)
    flags = ["--student", copied, "--teacher", copied, "--languages", "gl", "--data", data, "--max_rows", 2]
    flags += ["--max_steps", 1, "--use_cpu", "true", "--report_to", "none", "--generation_max_length", 8]
    code, _, errors = run_command("train", *flags, "--output_dir", tmp_path / "out")
    assert code == 0, errors[-3000:]
