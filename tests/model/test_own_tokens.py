"""Tokens of languages that Whisper has none for: what they start as, their ids, and what a config may ask for."""

import json

import pytest
import torch
from helpers import own, tiny
from safetensors import safe_open
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperForConditionalGeneration, add_own_tokens
from modeling_distilwhisper.data.labels import label_ids
from modeling_distilwhisper.language_names_distilwhisper import related_language


@pytest.fixture
def several(whisper_dir):
    return own.make_several(whisper_dir)


def test_an_embedding_starts_as_what_init_from_says(whisper_dir):
    model = DistilWhisperForConditionalGeneration.from_whisper(
        whisper_dir, ["ga", "gl-AO", "x-clinic"], init_from=own.STARTS
    )
    table, token = model.get_input_embeddings().weight, model.generation_config.lang_to_id
    rows = {code: table[token[f"<|{code}|>"]].double() for code in ("en", "fr", "gl", "ca", "ru")}
    model.add_language("kab")
    model.add_language("sco", init_from="ga")
    starts = {
        "ga": rows["fr"],
        "gl-AO": rows["gl"],
        "x-clinic": 0.25 * rows["gl"] + 0.75 * rows["ru"],
        "kab": torch.stack([*rows.values()]).mean(dim=0),
        "sco": rows["fr"],
    }
    for name, expected in starts.items():
        embedding = model.modules_of(name).parts.embedding
        assert torch.allclose(embedding.double(), expected, atol=1e-7) and embedding.requires_grad, name
    assert model.config.language_relatives == {"ga": "fr", "gl-AO": "gl", "x-clinic": "ru", "sco": "ga"}


@pytest.mark.parametrize(
    ("language", "init_from", "reason"),
    [
        ("ga", "cy", "`init_from` of 'ga' must be languages that are there"),
        ("ga", {}, "must be languages that are there"),
        ("ga", {"gl": -1.0}, "with weights from 0 on"),
        ("ga", {"gl": float("nan")}, "with weights from 0 on"),
        ("ga", {"gl": 0}, "with weights from 0 on"),
        ("ga", "../gl", "is not a language code"),
        ("ru", "gl", "Whisper has a token for 'ru'"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(fresh, language, init_from, reason):
    with pytest.raises(ValueError, match=reason):
        fresh.add_language(language, init_from=init_from)
    assert fresh.config.languages == ["gl", "ca"]


def test_a_tokenizer_gets_the_ids_that_the_model_knows(several, whisper_dir):
    tokenizer = WhisperProcessor.from_pretrained(whisper_dir).tokenizer
    assert tokenizer.convert_tokens_to_ids("<|1.00|>") < several.config.vocab_size
    before = dict(tokenizer.get_vocab())
    add_own_tokens(tokenizer, several)
    for name in own.OWN:
        assert tokenizer.convert_tokens_to_ids(f"<|{name.lower()}|>") == several.config.language_token_ids[name]
    assert before.items() <= tokenizer.get_vocab().items(), "no other token moves"
    assert tokenizer.decode(label_ids(tokenizer, "word", "gl-AO"), skip_special_tokens=True) == " word"


def test_a_tokenizer_that_lists_no_timestamps_does_not_give_their_ids_away(several, whisper_dir):
    """The tokenizer of whisper-base ends before the timestamps: the next id that it gives is that of 0.00 s."""
    folder = whisper_dir.parent / "short"
    WhisperProcessor.from_pretrained(whisper_dir).save_pretrained(folder)
    path = folder / "processor_config.json"
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["content"][2:3].isdigit()]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    decoder = settings.get("added_tokens_decoder", {})
    settings["added_tokens_decoder"] = {
        index: token for index, token in decoder.items() if not token["content"][2:3].isdigit()
    }
    config.write_text(json.dumps(settings))
    assert path.is_file()
    tokenizer = WhisperProcessor.from_pretrained(folder).tokenizer
    assert len(tokenizer) < several.config.vocab_size - 1000
    add_own_tokens(tokenizer, several)
    assert tokenizer.convert_tokens_to_ids("<|ga|>") == several.config.language_token_ids["ga"]
    notimestamps = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    assert tokenizer.convert_tokens_to_ids("<|0.04|>") == notimestamps + 3


def test_a_model_takes_the_id_that_a_tokenizer_has_already(several, processor, whisper_dir):
    tokenizer = WhisperProcessor.from_pretrained(whisper_dir).tokenizer
    tokenizer.add_tokens(["<|x-clinic|>", "<|kab|>"], special_tokens=True)
    audio = tiny.make_audio(processor, [1.0])
    before = {name: several.generate(**audio, language=name, max_new_tokens=8).tolist() for name in ["gl", *own.OWN]}
    add_own_tokens(tokenizer, several)
    ids = several.config.language_token_ids
    assert ids["x-clinic"] == several.config.vocab_size and len(set(ids.values())) == len(ids)
    assert all(tokenizer.convert_tokens_to_ids(f"<|{name.lower()}|>") == ids[name] for name in own.OWN)
    for name, tokens in before.items():
        assert several.generate(**audio, language=name, max_new_tokens=8).tolist() == tokens


def test_a_relative_leaves_with_its_language(several, tmp_path):
    """A teacher would otherwise be asked for the relative of experts that are gone."""
    several.remove_language("ga")
    several.add_language("ga")
    assert "ga" not in several.config.language_relatives and several.whisper_language("ga") is None
    several.save_experts(tmp_path, ["ga"])
    with safe_open(tmp_path / "expert.ga.safetensors", "pt") as file:
        assert "relative" not in file.metadata()


def test_relatives_of_relatives_are_followed_also_in_a_circle():
    relatives = {"sco": "ga", "ga": "fr-CA", "gd": "gv", "gv": "gd"}
    assert [related_language(name, relatives, {"fr", "en"}) for name in ("sco", "gd", "kab")] == ["fr", None, None]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"language_token_ids": {"ga": 10**9}}, "language_token_ids"),
        ({"language_token_ids": {"ga": -5}}, "language_token_ids"),
        ({"language_relatives": {"ga": "../../x"}}, "is not a language code"),
        ({"languages": ["ga", "kab"], "language_token_ids": {"ga": 51865, "kab": 51865}}, "the same token"),
    ],
)
def test_a_config_from_elsewhere_decides_neither_memory_nor_text(settings, reason):
    """A tokenizer gets every token up to the last one: a large id would take hours."""
    with pytest.raises(ValueError, match=reason):
        DistilWhisperConfig(**settings)


def test_a_tokenizer_whose_own_token_nobody_names_is_refused(several, whisper_dir):
    tokenizer = WhisperProcessor.from_pretrained(whisper_dir).tokenizer
    tokenizer.get_vocab = lambda: {"<|ga|>": 5}
    with pytest.raises(ValueError, match="<|ga|> as token 5 of Whisper's vocabulary"):
        add_own_tokens(tokenizer, several)
