"""A converted checkpoint of the authors gives the outputs that the authors' code gave for it.

    DISTILWHISPER_ORACLE=oracle pytest -m real tests/model/test_oracle.py

The folder holds small checkpoints that the authors' code saved (`complete`, and `shared_only` with files of experts),
the same backbone as a plain Whisper (`whisper_base`), and inputs with that code's outputs (`eval.npz`, `generate.npz`).
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq, GenerationMixin, WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.export.authors import convert_checkpoint

pytestmark = pytest.mark.real

START, NO_TIMESTAMPS = 991, 996
LANGUAGES = {"catalan": ("ca", 992), "galician": ("gl", 993)}
TASKS = {"translate": 994, "transcribe": 995}
MODES = ["none", "catalan", "galician", "translate_catalan", "translate_galician"]


@pytest.fixture(scope="module")
def oracle():
    value = os.environ.get("DISTILWHISPER_ORACLE")
    if not value:
        pytest.skip("DISTILWHISPER_ORACLE is not set: these tests need outputs of the authors' code (this file's top)")
    return Path(value)


@pytest.fixture(scope="module")
def base(oracle, tmp_path_factory):
    """The frozen Whisper with generation settings that name the tokens, as real ones have and this miniature lacks."""
    folder = tmp_path_factory.mktemp("base")
    shutil.copyfile(oracle / "whisper_base/config.json", folder / "config.json")
    settings = json.loads((oracle / "whisper_base/generation_config.json").read_text())
    del settings["_from_model_config"]  # or only what a model's config may hold would be read
    settings |= {
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": token for code, token in LANGUAGES.values()},
        "task_to_id": TASKS,
        "no_timestamps_token_id": NO_TIMESTAMPS,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module", params=["complete", "shared_only", "saved and loaded"])
def model(oracle, base, request, tmp_path_factory):
    if request.param != "saved and loaded":
        return convert_checkpoint(oracle / request.param, str(base))
    folder = tmp_path_factory.mktemp("ours")
    convert_checkpoint(oracle / "shared_only", str(base)).save_pretrained(folder)
    return DistilWhisperForConditionalGeneration.from_pretrained(folder)


@pytest.fixture(scope="module")
def expected(oracle):
    return np.load(oracle / "eval.npz")


@pytest.fixture(scope="module")
def written(oracle):
    return np.load(oracle / "generate.npz")


def routes(mode, rows=3):
    """Language ids of encoder and decoder: in a translation the decoder has no experts."""
    task, _, name = mode.rpartition("_")
    token = LANGUAGES[name][1] if name in LANGUAGES else -1
    ids = torch.full((rows,), token)
    return {"language_ids": ids, "decoder_language_ids": torch.full_like(ids, -1) if task else ids}


def inputs(arrays):
    return {name: torch.from_numpy(arrays[name]) for name in ("input_features", "decoder_input_ids") if name in arrays}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_states_and_gates_are_theirs(model, expected, mode, attention):
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs = model(**inputs(expected), **routes(mode), output_gates=True, output_hidden_states=True)
    assert np.abs(outputs.logits.numpy() - expected[f"{mode}.logits"]).max() <= 1e-5
    for side in ("encoder", "decoder"):
        states = torch.stack(getattr(outputs, f"{side}_hidden_states"))
        np.testing.assert_allclose(states, expected[f"{mode}.{side}_hidden_states"], atol=1e-4)
        gates, logits = (getattr(outputs, f"{side}_{name}") for name in ("gates", "gate_logits"))
        theirs = expected[f"{mode}.{side}_gates"]
        assert np.array_equal(torch.stack(gates) if gates else np.zeros_like(theirs), theirs), "exactly"
        if f"{mode}.{side}_gate_logits" in expected:
            np.testing.assert_allclose(torch.stack(logits), expected[f"{mode}.{side}_gate_logits"], atol=1e-4)
        else:
            assert not gates, "no gate is asked"


def test_a_batch_that_mixes_languages_is_theirs_row_by_row(model, expected):
    """The prompts of the rows name Catalan, Galician and Catalan; the model is given no other sign of the language."""
    with torch.no_grad():
        outputs = model(**inputs(expected), output_gates=True)
    for row, mode in enumerate(["catalan", "galician", "catalan"]):
        assert np.abs(outputs.logits[row].numpy() - expected[f"{mode}.logits"][row]).max() <= 1e-4
        for side in ("encoder", "decoder"):
            gates = torch.stack(getattr(outputs, f"{side}_gates"))[:, row]
            assert np.array_equal(gates, expected[f"{mode}.{side}_gates"][:, row])


@pytest.mark.parametrize("mode", MODES[1:])
def test_tokens_written_in_a_language_are_theirs(model, written, mode):
    task, _, name = mode.rpartition("_")
    settings = {"language": LANGUAGES[name][0], "task": task or "transcribe", "max_new_tokens": 21}
    outputs = model.generate(torch.from_numpy(written["input_features"]), **settings)
    prompt = 4  # start, language, task, no timestamps, which Whisper's `generate` does not return
    assert np.array_equal(outputs, written[f"{mode}.forced.sequences"][:, prompt:])


def test_tokens_written_by_a_batch_that_mixes_languages_are_theirs(model, written):
    languages = {"ca": "catalan", "gl": "galician"}
    rows = ["gl", "ca", "gl"]
    settings = {"language": rows, "task": "transcribe", "max_new_tokens": 21}
    outputs = model.generate(torch.from_numpy(written["input_features"]), **settings)
    for row, code in enumerate(rows):
        assert np.array_equal(outputs[row], written[f"{languages[code]}.forced.sequences"][row, 4:])


@pytest.mark.parametrize("mode", MODES)
def test_tokens_written_without_a_prompt_are_theirs(model, written, mode):
    """Skips Whisper's `generate`, which would put a prompt in front; theirs took the language from the layers."""
    features = torch.from_numpy(written["input_features"])
    start = torch.full((len(features), 1), START)
    settings = {"decoder_input_ids": start, "max_new_tokens": 24, "do_sample": False}
    outputs = GenerationMixin.generate(model, features, **routes(mode), **settings)
    assert np.array_equal(outputs, written[f"{mode}.free.sequences"])


def test_rows_that_end_early_are_padded_as_theirs(model, written):
    features = torch.from_numpy(written["input_features"])
    end = int(written["catalan.early_eos.eos_token_id"])
    settings = {"decoder_input_ids": torch.full((3, 1), START), "max_new_tokens": 24, "eos_token_id": end}
    outputs = GenerationMixin.generate(model, features, **routes("catalan"), **settings)
    assert np.array_equal(outputs, written["catalan.early_eos.sequences"])


@pytest.mark.parametrize("load", [AutoModelForSpeechSeq2Seq, DistilWhisperForConditionalGeneration])
def test_unconverted_it_is_refused_instead_of_loaded_without_its_experts(oracle, load):
    with pytest.raises(ValueError, match="distilwhisper convert-authors"):
        load.from_pretrained(oracle / "complete")


def test_without_experts_it_is_the_plain_whisper(oracle, base, written, expected, tmp_path):
    plain = WhisperForConditionalGeneration.from_pretrained(oracle / "whisper_base").eval()
    convert_checkpoint(oracle / "shared_only", str(base)).save_pretrained(tmp_path)
    model = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path, languages=[])
    with torch.no_grad():
        assert torch.equal(model(**inputs(expected)).logits, plain(**inputs(expected)).logits)
    settings = {"language": "ca", "task": "transcribe", "max_new_tokens": 21}
    outputs = model.generate(torch.from_numpy(written["input_features"]), **settings)
    assert np.array_equal(outputs, written["none.forced.sequences"][:, 4:])
