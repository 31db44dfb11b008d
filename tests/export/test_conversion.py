"""The authors' checkpoints give what the authors' layers give."""

import os
import re
import subprocess
import sys

import pytest
import torch
from helpers import authors, tiny
from helpers.scripts import EXAMPLES, run_command
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.export.authors import CARDS, authors_card, convert_checkpoint
from modeling_distilwhisper.reporting.model_card import is_edited

EXPERT = "expert.catalan.bin"
SCRIPT = "convert_authors_checkpoint.py"


@pytest.fixture
def converted(theirs, whisper_dir):
    return convert_checkpoint(theirs[0], str(whisper_dir))


def batch_of(processor, *prompts):
    """Noise, and for each (language, task) a prompt with some letters after it."""
    names = [("startoftranscript", language, task, "notimestamps") for language, task in prompts]
    ids = [processor.tokenizer.convert_tokens_to_ids([f"<|{name}|>" for name in prompt]) for prompt in names]
    letters = torch.arange(5, 15).repeat(len(prompts), 1)
    features = tiny.make_audio(processor, [1.0 + 0.2 * row for row in range(len(prompts))])["input_features"]
    return {"input_features": features, "decoder_input_ids": torch.cat([torch.tensor(ids), letters], dim=1)}


ROWS = [("ca", "transcribe"), ("gl", "transcribe"), ("fr", "transcribe"), ("ca", "translate"), ("gl", "translate")]


@pytest.mark.parametrize("apart", [True, False], ids=["files of experts", "all in one file"])
def test_each_row_of_a_mixed_batch_is_what_their_layers_make_of_its_language(
    whisper, whisper_dir, processor, tmp_path, apart
):
    experts = authors.write_checkpoint(tmp_path / "theirs", whisper, apart=apart)
    model = convert_checkpoint(tmp_path / "theirs", str(whisper_dir))
    names = {code: name for name, code in authors.CODES.items()}
    batch = batch_of(processor, *ROWS)
    with torch.no_grad():
        ours = model(**batch, output_gates=True)
        for index, (language, task) in enumerate(ROWS):
            expected = whisper
            if language in names:
                sides = ("encoder", "decoder") if task == "transcribe" else ("encoder",)
                expected = authors.reference(whisper, names[language], experts[names[language]], sides)
            logits = expected(**tiny.row(batch, index)).logits
            torch.testing.assert_close(ours.logits[index], logits[0], atol=1e-5, rtol=1e-5)
            for place, layer in authors.layers(expected).items():
                _, side, _, number = place.split(".")
                gates = getattr(ours, f"{side}_gates")[int(number)][index]
                is_open = getattr(layer.fc1, "is_open", torch.zeros(1))
                assert torch.equal(gates.bool(), is_open.bool().flatten().expand(len(gates))), place
    for row in (0, 1):
        gates = torch.cat([gates[row] for gates in (*ours.encoder_gates, *ours.decoder_gates)])
        assert 0.2 < gates.mean() < 0.8, "or a threshold that is wrong would not show"


@pytest.mark.parametrize(("name", "code"), authors.CODES.items())
def test_it_writes_what_their_layers_write(converted, whisper, theirs, processor, name, code):
    features = tiny.make_audio(processor, [1.0, 1.5])["input_features"]
    settings = {"language": code, "task": "transcribe", "max_new_tokens": 12}
    expected = authors.reference(whisper, name, theirs[1][name]).generate(features, **settings)
    assert torch.equal(converted.generate(features, **settings), expected)
    assert not torch.equal(whisper.generate(features, **settings), expected)


def test_every_number_comes_out_as_it_went_in(converted, theirs, whisper):
    state = converted.state_dict()
    for name, code in authors.CODES.items():
        for key, tensor in theirs[1][name].items():
            layer, part = key.split(".ffn_clsr.")
            ours = {f"gate_in.{name}": "gate.hidden", f"gate_out.{name}": "gate.score", f"proj.{name}.": ""}
            for old, new in ours.items():
                part = part.replace(old, new)
            assert torch.equal(state.pop(f"{layer}.experts.{code}.{part}"), tensor), key
    thresholds = {key: state.pop(key) for key in list(state) if key.endswith("gate.threshold")}
    assert len(thresholds) == 8 and all(threshold == 0 for threshold in thresholds.values())
    plain = whisper.state_dict()
    assert state.keys() == plain.keys() and all(torch.equal(state[key], plain[key]) for key in plain)


def test_the_config_says_how_it_was_trained_and_what_it_was_made_on(converted, whisper_dir, processor):
    config, token = converted.config, processor.tokenizer.convert_tokens_to_ids
    assert config.languages == ["ca", "gl"]
    assert config.language_token_ids == {"ca": token("<|ca|>"), "gl": token("<|gl|>")}
    assert config.translate_token_id == token("<|translate|>")
    assert (config.gate_training, config.gate_dim, config.gate_budget, config.skip_gate_prob) == ("soft", 6, 0.5, 0.2)
    assert (config.expert_rank, config.base_model_name_or_path) == (0, str(whisper_dir))
    trainable = {name for name, weights in converted.named_parameters() if weights.requires_grad}
    assert trainable and all(".experts." in name for name in trainable) and not converted.training


def test_a_budget_that_their_training_used_is_kept(whisper, whisper_dir, tmp_path):
    authors.write_checkpoint(tmp_path / "theirs", whisper, use_gate_budget=True, gate_budget=0.3)
    assert convert_checkpoint(tmp_path / "theirs", str(whisper_dir)).config.gate_budget == 0.3


def test_one_language_is_taken_without_opening_the_others(theirs, whisper_dir):
    folder, _ = theirs
    (folder / "expert.galician.bin").write_bytes(b"opening me would fail")
    assert convert_checkpoint(folder, str(whisper_dir), ["ca"]).config.languages == ["ca"]
    with pytest.raises(ValueError, match=r"has no experts of \['ru'\]. Languages that it has: ca, gl"):
        convert_checkpoint(folder, str(whisper_dir), ["ru"])


def test_half_precision_and_safetensors_are_read_too(theirs, whisper_dir, converted):
    folder, _ = theirs
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    save_file({key: tensor.clone() for key, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "pytorch_model.bin").unlink()
    tensors = torch.load(folder / EXPERT, weights_only=True)
    torch.save({key: tensor.half() for key, tensor in tensors.items()}, folder / EXPERT)
    state = convert_checkpoint(folder, str(whisper_dir)).state_dict()
    for key, tensor in converted.state_dict().items():
        halved = ".experts.ca." in key and not key.endswith("threshold")
        assert torch.equal(state[key], tensor.half().float() if halved else tensor), key


@pytest.fixture
def published(tmp_path):
    """A base, and the Hub's cache as it is once naver/multilingual-distilwhisper-28k was fetched."""
    processor = tiny.make_processor(("ta", "th", *tiny.LANGUAGES))
    whisper = tiny.make_whisper(processor)
    for code in ("ta", "th"):
        token = f"<|{code}|>"
        whisper.generation_config.lang_to_id[token] = processor.tokenizer.convert_tokens_to_ids(token)
    whisper.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    repository = tmp_path / "cache/models--naver--multilingual-distilwhisper-28k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(40 * "a")
    (repository / "snapshots").mkdir()
    folder = repository / "snapshots" / (40 * "a")
    authors.write_checkpoint(folder, whisper)
    (folder / "expert.galician.bin").unlink()
    for seed, name in enumerate(("tamil", "thai")):
        torch.save(authors.random_experts(whisper, name, seed), folder / f"expert.{name}.bin")
    return tmp_path / "base", tmp_path / "cache"


@pytest.mark.slow
def test_a_complete_published_checkpoint_gets_its_card_with_the_name_of_its_folder(published, tmp_path):
    base, cache = published
    name = "naver/multilingual-distilwhisper-28k"
    command = [sys.executable, EXAMPLES / SCRIPT, name, "--base", base, "--output_dir", tmp_path / "thai and tamil"]
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "No model card" not in done.stdout, done.stderr[-3000:]
    card = ModelCard.load(tmp_path / "thai and tamil/README.md")
    assert card.data.language == ["ca", "ta", "th"] and 'checkpoint = "thai and tamil"' in card.text
    assert 'model="thai and tamil"' in card.text and f"https://huggingface.co/{name}" in card.text
    assert not is_edited((tmp_path / "thai and tamil/README.md").read_text()), "it can be written anew"


def test_only_a_complete_checkpoint_of_the_authors_has_a_card(tmp_path, monkeypatch):
    name, languages = "naver/multilingual-distilwhisper-28k", ["th", "ta", "ca"]
    page = (EXAMPLES.parent / "docs/deploy.md").read_text()
    folder = re.search(rf"{name} --output_dir (\S+)", page)[1]
    written = (CARDS / "multilingual-distilwhisper-28k.md").read_text()
    assert f'checkpoint = "{folder}"' in written and str(authors_card(name, languages, folder)) == written
    assert authors_card(name, ["ca", "ta"], "x") is None and authors_card(name, [*languages, "gl"], "x") is None
    for other in ("quickstart", "README", "me/multilingual-distilwhisper-28k", name.split("/")[1]):
        assert authors_card(other, languages, "x") is None
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert authors_card(name, languages, "x") is None, "a folder of that name may hold anything"


def test_the_script_writes_a_folder_that_loads_by_languages(theirs, converted, whisper_dir, processor, tmp_path):
    output = tmp_path / "ours"
    code, printed, errors = run_command("convert-authors", theirs[0], "--base", whisper_dir, "--output_dir", output)
    assert code == 0, errors[-3000:]
    names = {path.name for path in output.iterdir()}
    assert {"expert.ca.safetensors", "expert.gl.safetensors", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith(".bin")]
    first_line, *table = printed.splitlines()
    assert first_line.startswith("No model card: only naver/multilingual-distilwhisper-3k") and "README.md" not in names
    assert [line.split()[0] for line in table[2:]] == ["ca", "gl"]
    batch = batch_of(processor, *ROWS)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(output)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, converted(**batch).logits)
    alone = DistilWhisperForConditionalGeneration.from_pretrained(output, languages=["gl"])
    assert alone.config.languages == ["gl"]
    assert load_file(output / "model.safetensors").keys() == {
        key for key in converted.state_dict() if ".experts." not in key and key != "proj_out.weight"
    }
    tokens = loaded.generate(batch["input_features"], language="ca", task="transcribe", max_new_tokens=8)
    assert torch.equal(
        tokens, converted.generate(batch["input_features"], language="ca", task="transcribe", max_new_tokens=8)
    )
    assert len(WhisperProcessor.from_pretrained(output).tokenizer) == len(processor.tokenizer)
