"""The authors' checkpoints give what the authors' layers give; nothing that is not one of them is taken for one."""

import io
import json
import os
import random
import re
import shutil
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
def theirs(whisper, tmp_path):
    """Their folder, and each language's tensors."""
    return tmp_path / "theirs", authors.write_checkpoint(tmp_path / "theirs", whisper)


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


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def edit(name, change):
    def apply(folder):
        torch.save(change(torch.load(folder / name, weights_only=True)), folder / name)

    return apply


def configure(**settings):
    def apply(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({key: v for key, v in (config | settings).items() if v != ...}))

    return apply


LAYER = "model.encoder.layers.1.ffn_clsr."


def without(part):
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if part not in key}


REFUSED = {
    "no gates": (edit(EXPERT, without("gate_")), "expert.catalan.bin has no gates of 'catalan'"),
    "half the gates": (edit(EXPERT, without("gate_out")), r"missing tensors \['model.decoder.*gate_out.catalan.weight"),
    "a layer missing": (
        edit(EXPERT, without(".layers.1.")),
        "missing tensors .*decoder.layers.1.*unexpected tensors none",
    ),
    "a layer too many": (
        edit(EXPERT, lambda tensors: tensors | {LAYER.replace("1", "7") + "proj.catalan.fc1.bias": torch.ones(48)}),
        "unexpected tensors .*encoder.layers.7.ffn_clsr.proj.catalan.fc1.bias",
    ),
    "another language inside": (
        edit(EXPERT, lambda tensors: {key.replace("catalan", "galician"): tensor for key, tensor in tensors.items()}),
        "expert.catalan.bin: missing tensors .*gate_in.catalan",
    ),
    "two languages inside": (
        edit(EXPERT, lambda tensors: tensors | {LAYER + "proj.galician.fc1.bias": torch.ones(48)}),
        "unexpected tensors .*proj.galician.fc1.bias",
    ),
    "another shape": (
        edit(EXPERT, lambda tensors: tensors | {LAYER + "gate_in.catalan.bias": torch.ones(9)}),
        r"gate_in.catalan.bias has shape \(9,\), expected \(6,\)",
    ),
    "NaN": (
        edit(EXPERT, lambda tensors: tensors | {LAYER + "gate_in.catalan.bias": torch.full((6,), torch.nan)}),
        "gate_in.catalan.bias holds .*NaN",
    ),
    "infinity": (
        edit("pytorch_model.bin", lambda tensors: tensors | {"model.encoder.conv1.bias": torch.full((32,), torch.inf)}),
        "conv1.bias holds .*infinity",
    ),
    "integers": (
        edit(EXPERT, lambda tensors: tensors | {LAYER + "gate_in.catalan.bias": torch.ones(6, dtype=torch.int64)}),
        "gate_in.catalan.bias holds torch.int64",
    ),
    "double precision": (
        edit(EXPERT, lambda tensors: tensors | {LAYER + "gate_in.catalan.bias": torch.ones(6, dtype=torch.float64)}),
        "gate_in.catalan.bias holds torch.float64",
    ),
    "no tensors": (
        lambda folder: torch.save([1, 2], folder / EXPERT),
        "expert.catalan.bin does not hold tensors by name",
    ),
    "code": (
        lambda folder: torch.save({"weights": Harmful()}, folder / EXPERT),
        "holds more than tensors, or is not a pickle. It was not loaded",
    ),
    "no pickle": (lambda folder: (folder / EXPERT).write_text("<html>"), "is not a pickle"),
    "half a file": (
        lambda folder: (folder / EXPERT).write_bytes((folder / EXPERT).read_bytes()[:5000]),
        "expert.catalan.bin is damaged",
    ),
    "an empty file": (lambda folder: (folder / EXPERT).write_bytes(b""), "expert.catalan.bin is damaged"),
    "half of safetensors": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"{}"),
        "model.safetensors is damaged",
    ),
    "tensors without names": (
        lambda folder: torch.save({0: torch.ones(1)}, folder / EXPERT),
        "does not hold tensors by name",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "half a config": (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
    "an unknown language": (
        lambda folder: (folder / EXPERT).rename(folder / "expert.klingon.bin"),
        "has experts of 'klingon'. Expected a language that Whisper knows",
    ),
    "a language twice": (
        lambda folder: shutil.copy(folder / EXPERT, folder / "expert.valencian.bin"),
        "Both .*expert.catalan.bin and .*expert.valencian.bin have experts of 'ca'",
    ),
    "a language that the base has no token for": (
        lambda folder: (folder / EXPERT).rename(folder / "expert.thai.bin"),
        "no language 'th'. Expected one of: ca, en",
    ),
    "no experts": (lambda folder: [path.unlink() for path in folder.glob("expert.*")], "has no experts, neither in"),
    "no Whisper": (
        lambda folder: torch.save({"bert.bias": torch.ones(1)}, folder / "pytorch_model.bin"),
        "is not a Whisper",
    ),
    "leftover weights": (
        edit("pytorch_model.bin", lambda tensors: tensors | {"model.encoder.adapter.weight": torch.ones(1)}),
        r"unexpected tensors \['model.encoder.adapter.weight'\]",
    ),
    "leftover parts of a layer": (
        edit("pytorch_model.bin", lambda tensors: tensors | {LAYER + "gate_skip.catalan.weight": torch.ones(1)}),
        "unexpected tensors .*gate_skip.catalan.weight",
    ),
    "a plain feed-forward": (
        edit(
            "pytorch_model.bin", lambda tensors: {k.replace("ffn_clsr.proj.shared.", ""): v for k, v in tensors.items()}
        ),
        "missing tensors .*ffn_clsr.proj.shared.fc1.*unexpected tensors .*layers.0.fc1",
    ),
    "an untied head": (
        edit("pytorch_model.bin", lambda tensors: tensors | {"proj_out.weight": torch.ones(3, 3)}),
        "proj_out.weight differs from model.decoder.embed_tokens.weight",
    ),
    "no weights": (
        lambda folder: (folder / "pytorch_model.bin").unlink(),
        "neither model.safetensors nor pytorch_model.bin",
    ),
    "another type": (configure(model_type="bert"), "describes a 'bert', with gates 6 wide"),
    "a plain Whisper": (configure(clsr_gate_dim=...), "a 'distilwhisper', with gates None wide"),
    "ours": (configure(language_token_ids={"ca": 1}), "already in the layout of this package"),
    "residual experts": (configure(clsr_residual=True), "sets `clsr_residual`"),
    "another base": (configure(encoder_ffn_dim=96), "is not the Whisper .*: it has encoder_ffn_dim 48, not 96"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_such_a_checkpoint_is_refused_by_name(theirs, whisper_dir, capfd, spoil, message):
    folder, _ = theirs
    spoil(folder)
    with pytest.raises((ValueError, OSError), match=message):
        convert_checkpoint(folder, str(whisper_dir))
    assert "code ran" not in capfd.readouterr().out


def test_whichever_byte_is_damaged_the_file_is_named_and_what_to_do(theirs, whisper_dir):
    """Of flipped bits most fail as a pickle does; some as a key, an index, a type or text that is none."""
    folder, _ = theirs
    path = folder / EXPERT
    tensors = {key: tensor for key, tensor in torch.load(path, weights_only=True).items() if ".layers.1." in key}
    draw, fails_as = random.Random(0), {}
    for zipped in (True, False):
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        for _ in range(200):
            damaged = bytearray(content)
            damaged[draw.randrange(1500)] ^= 1 << draw.randrange(8)  # where names and kinds are, not numbers
            try:
                torch.load(io.BytesIO(damaged), "cpu", weights_only=True)
            except Exception as error:
                fails_as.setdefault(type(error), damaged)
    assert {KeyError, IndexError, TypeError, UnicodeDecodeError} <= fails_as.keys()
    for damaged in fails_as.values():
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="(?s)expert.catalan.bin (is damaged|holds more).*ownload it again"):
            convert_checkpoint(folder, str(whisper_dir), ["ca"])


def test_a_base_without_languages_is_refused_and_the_settings_of_the_folder_come_first(
    theirs, whisper_dir, processor, tmp_path
):
    folder, _ = theirs
    english = tmp_path / "english"
    shutil.copytree(whisper_dir, english)
    settings = json.loads((english / "generation_config.json").read_text())
    del settings["lang_to_id"]
    (english / "generation_config.json").write_text(json.dumps(settings))
    assert convert_checkpoint(folder, str(english)).config.languages == ["ca", "gl"], "its tokenizer names them"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (english / name).unlink()
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="names the token of each language"):
        convert_checkpoint(folder, str(english))
    shutil.copy(whisper_dir / "generation_config.json", folder)
    assert convert_checkpoint(folder, str(english)).config.languages == ["ca", "gl"]


def test_nothing_is_written_where_something_is_refused_or_there(theirs, whisper_dir, tmp_path):
    folder, _ = theirs
    edit("expert.galician.bin", without("gate_"))(folder)
    flags = (folder, "--base", whisper_dir, "--output_dir")
    code, _, errors = run_command("convert-authors", *flags, tmp_path / "ours")
    assert code != 0 and "expert.galician.bin has no gates of 'galician'" in errors
    assert not (tmp_path / "ours").exists()
    before = {path.name for path in folder.iterdir()}
    code, _, errors = run_command("convert-authors", *flags, folder)
    assert code != 0 and "exists already. Name a new folder" in errors
    assert {path.name for path in folder.iterdir()} == before
