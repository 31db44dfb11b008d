"""The Auto classes of Transformers give the right class with its experts, with the package and without it."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from helpers import tiny
from helpers.remote import run_without_the_package
from transformers import AutoConfig, AutoModel, AutoModelForSpeechSeq2Seq

import modeling_distilwhisper
from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperForConditionalGeneration

FOLDER = Path(modeling_distilwhisper.__file__).parent

SCRIPT = """
import json

import torch
from transformers import AutoModel, AutoModelForSpeechSeq2Seq

folder, inputs, resaved = sys.argv[1:]
torch.set_num_threads(1)
inputs = torch.load(inputs)
model = AutoModel.from_pretrained(folder, languages=["gl"], trust_remote_code=True)
with torch.no_grad():
    states = model(**inputs).last_hidden_state
model.save_pretrained(resaved)
again = AutoModel.from_pretrained(resaved, trust_remote_code=True)
head = AutoModelForSpeechSeq2Seq.from_pretrained(resaved, trust_remote_code=True)
with torch.no_grad():
    same = torch.allclose(again(**inputs).last_hidden_state, states, atol=1e-5)
tokens = head.generate(inputs["input_features"], language=["gl", "fr"], task="transcribe", max_new_tokens=12)
print(json.dumps({
    "class": type(model).__name__,
    "module": type(model).__module__.split(".")[0],
    "languages": [model.config.languages, again.config.languages, head.config.languages],
    "states": states.tolist(),
    "resaved": same,
    "tokens": tokens.tolist(),
}))
"""


@pytest.fixture
def inputs(processor):
    ids = processor.tokenizer.convert_tokens_to_ids
    prompts = [[ids("<|startoftranscript|>"), ids(f"<|{language}|>"), 5, 6] for language in ("gl", "fr")]
    features = tiny.make_audio(processor, [2.0, 1.0])["input_features"]
    return {"input_features": features, "decoder_input_ids": torch.tensor(prompts)}


def states_of(model, inputs):
    """Of the last decoder layer; a model with a head gives all layers', of which the last is normalised."""
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True).decoder_hidden_states[-1]


@pytest.mark.parametrize("save_backbone", [True, False])
def test_auto_model_gives_the_model_without_its_head(model, inputs, tmp_path, save_backbone):
    model.save_pretrained(tmp_path, save_backbone=save_backbone)
    bare = AutoModel.from_pretrained(tmp_path)
    assert type(bare).__name__ == "DistilWhisperModel" and type(bare).__module__.startswith("modeling_distilwhisper")
    assert bare.config.languages == ["gl", "ca"] and not bare.training
    expected = states_of(model, inputs)
    assert torch.equal(states_of(bare, inputs), expected)
    model.remove_language("gl")
    assert not torch.allclose(states_of(model, inputs)[0], expected[0], atol=1e-3), "experts change the first row"


def test_auto_model_loads_the_languages_that_are_asked_for(model, inputs, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "expert.ca.safetensors").unlink()
    bare = AutoModel.from_pretrained(tmp_path, languages=["gl"])
    assert bare.config.languages == ["gl"]
    assert torch.equal(states_of(bare, inputs), states_of(model, inputs))
    plain = AutoModel.from_pretrained(tmp_path, languages=[])
    with torch.no_grad():
        expected = model.model(**inputs, language_ids=torch.tensor([-1, -1])).last_hidden_state
        assert torch.equal(plain(**inputs).last_hidden_state, expected)


def test_what_auto_model_saves_is_complete(model, inputs, tmp_path):
    """The head is the tied embedding: nothing is missing in what a model without it saves."""
    model.save_pretrained(tmp_path / "first")
    bare = AutoModel.from_pretrained(tmp_path / "first")
    for save_backbone in (True, False):
        folder = tmp_path / f"second-{save_backbone}"
        bare.save_pretrained(folder, save_backbone=save_backbone)
        again = AutoModel.from_pretrained(folder)
        # Not bit for bit: where a file puts its tensors decides which kernels multiply them.
        torch.testing.assert_close(states_of(again, inputs), states_of(model, inputs), atol=1e-5, rtol=1e-5)
        head = AutoModelForSpeechSeq2Seq.from_pretrained(folder)
        assert isinstance(head, DistilWhisperForConditionalGeneration)
        settings = {"language": ["gl", "fr"], "task": "transcribe", "max_new_tokens": 12}
        expected = model.generate(inputs["input_features"], **settings)
        assert torch.equal(head.generate(inputs["input_features"], **settings), expected)
    bare.add_language("ru")
    bare.save_pretrained(tmp_path / "third")
    assert AutoModel.from_pretrained(tmp_path / "third").config.languages == ["gl", "ca", "ru"]


def test_experts_are_loaded_and_removed_without_a_head_too(model, whisper_dir, inputs, tmp_path):
    model.save_experts(tmp_path)
    bare = modeling_distilwhisper.DistilWhisperModel.from_whisper(whisper_dir, languages=[])
    bare.load_experts(tmp_path, "gl")
    bare.load_experts(tmp_path, "ca")
    assert torch.equal(states_of(bare, inputs), states_of(model, inputs))
    trainable = {name for name, weight in bare.named_parameters() if weight.requires_grad}
    assert trainable and all(".experts." in name for name in trainable)
    bare.remove_language("ca")
    with pytest.raises(OSError, match=r"no expert.fr.safetensors. Languages it has experts for: ca, gl"):
        bare.load_experts(tmp_path, "fr")


@pytest.mark.slow
def test_auto_model_works_without_the_package(model, inputs, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    torch.save(inputs, tmp_path / "inputs.pt")
    with torch.no_grad():
        states = model.model(**inputs).last_hidden_state
    settings = {"language": ["gl", "fr"], "task": "transcribe", "max_new_tokens": 12}
    tokens = model.generate(inputs["input_features"], **settings)
    lines = run_without_the_package(SCRIPT, tmp_path, tmp_path / "saved", tmp_path / "inputs.pt", tmp_path / "resaved")
    printed = json.loads(lines[-1])
    assert (printed["class"], printed["module"]) == ("DistilWhisperModel", "transformers_modules")
    assert printed["languages"] == [["gl"]] * 3 and printed["resaved"]
    torch.testing.assert_close(torch.tensor(printed["states"]), states, atol=1e-5, rtol=1e-5)
    assert printed["tokens"] == tokens.tolist()


@pytest.mark.parametrize("name", ["AutoModelForCausalLM", "AutoModelForAudioClassification", "AutoModelForCTC"])
def test_an_auto_class_that_would_lose_the_experts_is_refused(model, tmp_path, name):
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        getattr(transformers, name).from_pretrained(tmp_path)


def test_a_config_makes_models_and_stays_as_it_was(model):
    config = DistilWhisperConfig(**{**model.config.to_dict(), "languages": ["gl"]})
    before = vars(config).copy()
    made = DistilWhisperForConditionalGeneration(config)
    assert vars(config) == before and config.model_type == "distilwhisper"
    assert made.config is made.model.config, "a setting that is changed counts in every layer"
    assert made.model.encoder.layers[0].routing_config is made.config
    for auto in (AutoModel, AutoModelForSpeechSeq2Seq):
        assert auto.from_config(config).config.languages == ["gl"]
    assert AutoConfig.for_model("distilwhisper").model_type == "distilwhisper"


def test_the_model_file_imports_each_file_that_travels_with_it():
    """Transformers below 5.8 copies the files that this one imports, and not those that they import."""
    source = (FOLDER / "modeling_distilwhisper.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^from \.(\w+) import", source, flags=re.MULTILINE))
    assert imported == {path.stem for path in FOLDER.glob("*_distilwhisper.py")} - {"modeling_distilwhisper"}
