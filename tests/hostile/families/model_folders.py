"""Folders of models whose files are missing, empty, cut or of another form."""

import json
import shutil

import torch
from transformers import AutoModelForSpeechSeq2Seq

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.runs.any_whisper import load_model, load_processor

from ..trial import Wrong
from .expert_files import made

FILES = ("config.json", "generation_config.json", "model.safetensors", "expert.gl.safetensors")
CONTENTS = {
    "empty": b"", "cut": None, "null": b"null", "a list": b"[]", "a number": b"7", "text": b"hello",
    "not UTF-8": b"\xff\xfe{",
    "deep": b"[" * 100_000, "an empty object": b"{}",
}  # fmt: skip
CONFIG = {
    "languages": ("gl", None, 7, ["gl", "gl"], [["gl"]], ["../gl"], ["zz"], {"gl": 1}),
    "language_token_ids": ({"gl": -1}, {"gl": 10**9}, {"gl": "x"}, ["gl"], {"gl": 1.5}),
    "d_model": (0, -1, "32", 10**9, None),
    "encoder_layers": (0, -1, 10**7, 1.5),
    "gate_dim": (0, -1, 10**12, "x"),
    "expert_rank": (-1, 10**12),
    "vocab_size": (1, 10**11),
    "gate_budget": (2.0, "half"),
    "gate_budgets": ({"gl": 7}, ["gl"], {"zz": 0.5}),
    "model_type": ("bert", "nothing", 7),
    "max_target_positions": (0, 10**11),
}


def saved(folder):
    source = made()[0]
    model = DistilWhisperForConditionalGeneration.from_whisper(source, languages=["gl"])
    model.save_pretrained(folder / "model")
    return folder / "model"


def use(folder):
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder)
    features = torch.zeros(1, model.config.num_mel_bins, 2 * model.config.max_source_positions)
    model(input_features=features, decoder_input_ids=torch.tensor([[model.config.decoder_start_token_id]]))
    return model


def damaged(file, content):
    def act(folder):
        model = saved(folder)
        if content is None:
            whole = (model / file).read_bytes()
            (model / file).write_bytes(whole[: len(whole) // 2])
        else:
            (model / file).write_bytes(content)
        use(model)
        # Generation settings have defaults, and a folder lists its languages in the config.
        if file in ("config.json", "model.safetensors"):
            raise Wrong(f"{file}: loaded all the same")

    return act


def missing(file):
    def act(folder):
        model = saved(folder)
        (model / file).unlink()
        use(model)
        if file != "generation_config.json":
            raise Wrong(f"loaded without {file}")

    return act


def configured(name, value):
    def act(folder):
        model = saved(folder)
        config = json.loads((model / "config.json").read_text())
        config[name] = value
        (model / "config.json").write_text(json.dumps(config))
        loaded = use(model)
        if getattr(loaded.config, "languages", None) != ["gl"] and name == "languages" and value is not None:
            raise Wrong(f"{name}={value!r} became {loaded.config.languages!r}")
        if name not in ("languages", "language_token_ids", "gate_budgets"):
            raise Wrong(f"{name}={value!r} was accepted")

    return act


def no_model(make):
    def act(folder):
        target = folder / "m"
        make(target)
        load_model(str(target))
        raise Wrong("loaded")

    return act


def processor(make):
    def act(folder):
        target = folder / "m"
        make(target)
        load_processor(str(target))
        raise Wrong("loaded")

    return act


def of_files(**files):
    def make(target):
        target.mkdir()
        for name, content in files.items():
            (target / name.replace("_json", ".json")).write_text(content)

    return make


NO_MODELS = {
    "absent": lambda target: None,
    "empty folder": lambda target: target.mkdir(),
    "a file": lambda target: target.write_text("x"),
    "config alone": of_files(config_json='{"model_type": "whisper"}'),
    "another model": of_files(config_json='{"model_type": "bert"}'),
    "no model type": of_files(config_json="{}"),
    "experts without a backbone": lambda target: shutil.copytree(
        made()[0], target, ignore=lambda *_: ["model.safetensors"]
    ),
}


def trials():
    made()
    for file in FILES:
        for name, content in CONTENTS.items():
            yield f"{file}, {name}", damaged(file, content)
        yield f"{file}, missing", missing(file)
    for name, values in CONFIG.items():
        for value in values:
            yield f"config, {name}={value!r}", configured(name, value)
    for name, make in NO_MODELS.items():
        yield f"model, {name}", no_model(make)
        yield f"processor, {name}", processor(make)
