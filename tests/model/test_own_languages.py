"""Languages that Whisper has no token for: they are decoded as any other, and nothing else changes."""

import copy

import pytest
import torch
from helpers import own, tiny
from helpers.modes import MODES, alone, generate, generate_plainly, inputs_for, strip
from helpers.remote import run_without_the_package
from transformers import WhisperForConditionalGeneration, WhisperProcessor, pipeline

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, add_own_tokens
from modeling_distilwhisper.data.labels import label_ids

ROWS = ["ga", "gl", "gl-AO"]


@pytest.fixture
def several(whisper_dir):
    return own.make_several(whisper_dir)


@pytest.fixture
def plain(whisper_dir):
    return WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval()


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one if isinstance(one[name], torch.Tensor)
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_new_name_decodes_as_the_relative_that_it_starts_from(whisper_dir, processor, plain, mode):
    """Whatever in `generate` looks at the ids of prompts would otherwise fail, or see another prompt."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga"], init_from={"ga": "fr"}).eval()
    audio = inputs_for(mode, processor)
    expected = generate_plainly(plain, processor, mode, audio, "fr")
    assert same(generate(model, processor, mode, audio, "ga"), expected)


@pytest.mark.parametrize("mode", ["greedy", "beam", "long-form"])
def test_each_of_several_new_names_has_its_own_embedding(whisper_dir, processor, plain, mode):
    """Of two names in one model, the later one's embedding would otherwise stand for both, also row by row."""
    starts = {"ga": "fr", "kab": "ru"}
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga", "kab"], init_from=starts).eval()
    audio = inputs_for(mode, processor)
    expected = generate(plain, processor, mode, audio, ["fr", "gl", "ru"])
    assert same(generate(model, processor, mode, audio, ["ga", "gl", "kab"]), expected)


@pytest.mark.parametrize("mode", [mode for mode in MODES if not mode.startswith("assisted")])
def test_a_batch_of_old_and_new_names_gives_each_row_what_it_gets_alone(several, processor, mode):
    audio, padding = inputs_for(mode, processor), processor.tokenizer.pad_token_id
    together = generate(several, processor, mode, audio, ROWS)["sequences"]
    for index, single in enumerate(alone(several, processor, mode, audio, ROWS)):
        values = single["sequences"]
        rows = together[index * len(values) : (index + 1) * len(values)]
        assert [strip(row.tolist(), padding) for row in rows] == [strip(row.tolist(), padding) for row in values]


@pytest.mark.parametrize("settings", [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 1}, {"num_beams": 2}])
def test_nothing_looks_up_a_prompts_new_token_in_the_logits(several, processor, settings):
    """A penalty for repetitions gathers the logits of all ids so far."""
    audio = inputs_for("greedy", processor)
    seen = []

    def look(ids, scores):
        seen.append(int(ids.max()))
        return scores

    tokens = several.generate(**audio, language=ROWS, max_new_tokens=6, logits_processor=[look], **settings)
    assert len(tokens) == len(ROWS) and max(seen) < several.config.vocab_size


@pytest.mark.parametrize("mode", MODES)
def test_new_names_change_no_other_row(several, model, whisper_dir, processor, plain, mode):
    audio = inputs_for(mode, processor)
    expected = generate_plainly(plain, processor, mode, audio, "ru")
    assert same(generate(several, processor, mode, audio, "ru"), expected), "a language without experts"
    before = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl"]).eval()
    for key, expert in before.experts_of("gl").items():
        expert.load_state_dict(several.experts_of("gl")[key].state_dict())
    assert same(generate(several, processor, mode, audio, "gl"), generate(before, processor, mode, audio, "gl"))


def test_the_output_layer_does_not_grow_and_languages_are_detected_as_before(several, plain, processor):
    audio = tiny.make_audio(processor, [1.0, 2.0, 0.5])
    assert several.get_output_embeddings().weight.shape == plain.get_output_embeddings().weight.shape
    for name, tensor in plain.state_dict().items():
        assert torch.equal(several.state_dict()[name], tensor), name
    assert torch.equal(several.detect_language(audio["input_features"]), plain.detect_language(audio["input_features"]))
    assert torch.equal(tiny.logits_of(several, processor, ("fr", "ru")), tiny.logits_of(plain, processor, ("fr", "ru")))


def test_two_dialects_of_one_language_live_side_by_side(whisper_dir, processor):
    """If a dialect were read as its language, both would get the same experts, and the later one would win."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "gl-ES", "gl-AO"]).eval()
    tiny.unsettle(model)
    audio = tiny.make_audio(processor, [1.0])
    texts = {
        name: model.generate(**audio, language=name, max_new_tokens=12).tolist() for name in model.config.languages
    }
    assert len({str(text) for text in texts.values()}) == 3
    model.remove_language("gl_es")
    assert model.generate(**audio, language="GL-ao", max_new_tokens=12).tolist() == texts["gl-AO"]
    with pytest.raises(ValueError, match="no language 'gl-ES', and no expert of it is loaded. Loaded: gl, gl-AO"):
        model.generate(**audio, language="gl-ES")


def test_names_are_saved_and_loaded_alone_or_together_with_the_same_output(several, processor, tmp_path):
    folder = tmp_path / "saved"
    several.save_pretrained(folder)
    audio = inputs_for("greedy", processor)
    expected = generate(several, processor, "greedy", audio, ROWS)["sequences"]
    assert sorted(path.name for path in folder.glob("expert.*")) == sorted(
        f"expert.{name}.safetensors" for name in ["gl", *own.OWN]
    )
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(generate(loaded, processor, "greedy", audio, ROWS)["sequences"], expected)
    assert loaded.config.language_relatives == several.config.language_relatives
    one = DistilWhisperForConditionalGeneration.from_pretrained(folder, languages=["GL_ao"])
    assert one.config.languages == ["gl-AO"] and "<|ga|>" not in one.generation_config.lang_to_id
    alone = generate(one, processor, "greedy", tiny.row(audio, 2), "gl-AO")["sequences"][0]
    assert alone.tolist() == expected[2][: len(alone)].tolist()
    none = DistilWhisperForConditionalGeneration.from_pretrained(folder, languages=[])
    assert none.generation_config.lang_to_id.keys() == {f"<|{code}|>" for code in tiny.LANGUAGES}


def test_experts_of_two_repositories_whose_names_share_a_token_meet_in_one_model(whisper_dir, processor, tmp_path):
    """Each was the first new name of its repository, so both have the first id behind the vocabulary."""
    audio, expected = tiny.make_audio(processor, [1.0]), {}
    joined = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, [])
    for seed, name in enumerate(("ga", "kab")):
        one = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, [name], init_from={name: "ru"}).eval()
        tiny.unsettle(one, seed=seed)
        expected[name] = one.generate(**audio, language=name, max_new_tokens=8)
        one.save_experts(tmp_path / name)
        joined.load_experts(tmp_path / name, name)
    assert len(set(joined.config.language_token_ids.values())) == 2
    for name, tokens in expected.items():
        assert torch.equal(joined.generate(**audio, language=name, max_new_tokens=8), tokens)


def test_experts_of_a_relative_start_a_new_language(several, processor, tmp_path):
    several.save_pretrained(tmp_path)
    audio = tiny.make_audio(processor, [1.0])
    for source in ("gl", "ga"):
        name = f"x-{source}"
        several.load_experts(tmp_path, name, saved_as=source)
        tokens = [several.generate(**audio, language=one, max_new_tokens=8).tolist() for one in (name, source)]
        assert tokens[0] == tokens[1] and several.config.language_relatives[name] == source
    several.load_experts(tmp_path, "ca", saved_as="ga")
    assert several.modules_of("ca").parts is None, "Whisper has a token for it"


@pytest.mark.parametrize("language", ["ga", "gl-AO"])
def test_training_moves_the_names_own_parts_and_nothing_else(several, whisper_dir, language):
    processor = WhisperProcessor.from_pretrained(whisper_dir)  # it changes
    add_own_tokens(processor.tokenizer, several)
    before = tiny.state_of(several)
    labels = torch.tensor([label_ids(processor.tokenizer, "word", language)])
    optimizer = torch.optim.SGD([weight for weight in several.parameters() if weight.requires_grad], lr=0.1)
    output = several.train()(**tiny.make_audio(processor, [1.0]), labels=labels)
    assert output.loss.isfinite(), "the label of a token that the output layer lacks is left out"
    output.loss.backward()
    optimizer.step()
    moved = {name for name, tensor in several.state_dict().items() if not torch.equal(tensor, before[name])}
    assert f"model.decoder.experts.{language}.embedding" in moved
    assert all(f".experts.{language}." in name for name in moved)


def test_a_prompt_of_a_name_that_is_not_loaded_is_refused(several, processor):
    """The id is behind the vocabulary: a lookup would fail without a word, or on a GPU end the process."""
    token, start = several.config.language_token_ids["ga"], several.config.decoder_start_token_id
    several.remove_language("ga")
    audio = tiny.make_audio(processor, [1.0])
    with pytest.raises(ValueError, match=f"token {token} is that of 'ga', whose experts are not loaded"):
        several(**audio, decoder_input_ids=torch.tensor([[start, token, 7]]))
    with pytest.raises(ValueError, match="Whisper has no language 'ga', and no expert of it is loaded"):
        several.generate(**audio, language="ga")


@pytest.mark.parametrize("others", [["gl"], ["kab"]])
def test_an_assistant_with_other_languages_changes_no_transcript(several, whisper_dir, processor, others):
    """It is asked with the prompt that the model made, whose language it may not know."""
    assistant = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, others).eval()
    audio = inputs_for("assisted", processor)
    settings = {"language": "ga", "task": "transcribe", "max_new_tokens": 8}
    expected = several.generate(**audio, **settings)
    assert torch.equal(several.generate(**audio, assistant_model=assistant, **settings), expected)


def test_the_language_of_a_generation_config_may_be_a_new_name(several, processor):
    audio = inputs_for("greedy", processor)
    expected = several.generate(**audio, language="ga", task="transcribe", max_new_tokens=8)
    config = copy.deepcopy(several.generation_config)
    config.language, config.task, config.max_new_tokens = "GA", "transcribe", 8
    config.lang_to_id = {f"<|{code}|>": config.lang_to_id[f"<|{code}|>"] for code in tiny.LANGUAGES}
    assert torch.equal(several.generate(**audio, generation_config=config), expected)
    features = audio.pop("input_features")
    assert torch.equal(several.generate(features, config, **audio), expected), "in its place"
    several.generation_config = config
    assert torch.equal(several.generate(features, **audio), expected)


def test_the_pipeline_transcribes_a_new_name_that_was_added_after_it_was_made(whisper_dir, processor, tmp_path):
    """A pipeline keeps a copy of the generation config, which does not know what comes later."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl"])
    transcribe = pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )
    model.add_language("ga", init_from="fr")
    audio = torch.randn(24_000, generator=torch.Generator().manual_seed(1)).numpy()
    settings = {"max_new_tokens": 8}
    texts = [transcribe(audio, generate_kwargs=settings | {"language": name})["text"] for name in ("ga", "fr")]
    assert texts[0] == texts[1]


def test_the_model_without_a_head_takes_new_names_too(several, processor, tmp_path):
    from modeling_distilwhisper import DistilWhisperModel

    several.save_pretrained(tmp_path)
    model = DistilWhisperModel.from_pretrained(tmp_path)
    start, token = several.config.decoder_start_token_id, several.config.language_token_ids["x-clinic"]
    inputs = {**tiny.make_audio(processor, [1.0]), "decoder_input_ids": torch.tensor([[start, token, 5, 6]])}
    with torch.no_grad():
        assert torch.equal(several.model(**inputs).last_hidden_state, model.eval()(**inputs).last_hidden_state)


@pytest.mark.slow
def test_a_new_name_is_loaded_and_decoded_by_remote_code_alone(several, processor, tmp_path):
    several.save_pretrained(tmp_path / "saved")
    audio = tiny.make_audio(processor, [1.0])
    torch.save(audio["input_features"], tmp_path / "features.pt")
    script = """
import torch
from transformers import AutoModelForSpeechSeq2Seq
model = AutoModelForSpeechSeq2Seq.from_pretrained(sys.argv[1], languages=["gl-AO"], trust_remote_code=True)
features = torch.load(sys.argv[2], weights_only=True)
print(model.generate(features, language="gl-AO", max_new_tokens=8).tolist())
"""
    printed = run_without_the_package(script, tmp_path, tmp_path / "saved", tmp_path / "features.pt")
    expected = several.generate(audio["input_features"], language="gl-AO", max_new_tokens=8).tolist()
    assert printed[-1] == str(expected)
