"""What is not a checkpoint of the authors, or a damaged one, is refused by name, and nothing is written."""

import io
import json
import random
import shutil

import pytest
import torch
from helpers.scripts import run_command

from modeling_distilwhisper.export.authors import convert_checkpoint

EXPERT = "expert.catalan.bin"


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
