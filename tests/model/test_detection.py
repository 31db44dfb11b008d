"""Which language is spoken: among candidates, and with trained rows; Whisper's own detection stays what it is."""

import pytest
import torch
from helpers import tiny
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, fit_detection

ALL = list(tiny.LANGUAGES)


@pytest.fixture
def several(whisper_dir):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "ga"], init_from={"ga": "fr"}).eval()
    tiny.unsettle(model)
    return model


@pytest.fixture
def audio(processor):
    return tiny.make_audio(processor, [0.5, 1.0, 1.5, 2.0, 0.7, 1.3])


def places(model, names):
    """Recordings of these languages, as states: each around a point of its own."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: 3 * torch.randn(1, model.config.d_model, generator=generator)
        + torch.randn(40, model.config.d_model, generator=generator)
        for name in names
    }


def test_whispers_own_detection_is_what_plain_whisper_detects(several, whisper_dir, audio):
    plain, features = WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval(), audio["input_features"]
    several.set_detection_row("ga", torch.full((several.config.d_model,), 9.0), 99.0)
    expected = plain.detect_language(features)
    assert torch.equal(several.detect_language(features), expected)
    assert torch.equal(several.detect_language(features, candidate_languages=ALL), expected)
    settings = {"task": "transcribe", "max_new_tokens": 6}
    tokens = several.generate(**audio, **settings)
    names = {token: name for name, token in several.language_tokens().items()}
    named = several.generate(**audio, language=[names[token] for token in expected.tolist()], **settings)
    assert torch.equal(tokens, named), "generate detects as detect_language does"


@pytest.mark.parametrize("candidates", [["gl", "ru"], ["fr"], ["ru", "en", "ca"]])
def test_only_candidates_are_detected_and_the_most_probable_one_wins(several, audio, candidates):
    features = audio["input_features"]
    found = several.detect_language(features, candidate_languages=candidates).tolist()
    among = several.language_probabilities(features, candidate_languages=candidates)
    of_all = several.language_probabilities(features)
    tokens = several.language_tokens()
    for token, few, many in zip(found, among, of_all, strict=True):
        assert few.keys() == {*candidates} and sum(few.values()) == pytest.approx(1, abs=1e-5)
        best = max(candidates, key=lambda name: many[name])
        assert token == tokens[best] and next(iter(few)) == best
    settings = {"task": "transcribe", "max_new_tokens": 6}
    together = several.generate(**audio, candidate_languages=candidates, **settings)
    names = {token: name for name, token in tokens.items()}
    assert torch.equal(together, several.generate(**audio, language=[names[token] for token in found], **settings))


def test_a_call_does_not_leave_its_candidates_to_the_next_one(several, audio):
    before = several.detect_language(audio["input_features"])
    with pytest.raises(ValueError, match="cannot be detected by Whisper itself"):
        several.generate(**audio, candidate_languages=["ga"])
    several.generate(**audio, candidate_languages=["fr"], max_new_tokens=2)
    assert torch.equal(several.detect_language(audio["input_features"]), before)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"candidate_languages": []}, "a list of at least one code"),
        ({"candidate_languages": "gl"}, "a list of at least one code"),
        ({"candidate_languages": ["ga"]}, r"\['ga'\] cannot be detected by Whisper itself: expected some of ca, en"),
        ({"candidate_languages": ["../x"]}, "is not a language code"),
        ({"detection": "mine"}, '`detection` must be "whisper" or "trained"'),
        ({"candidate_languages": ["ga"], "detection": "trained"}, "needs a trained detection row"),
    ],
)
def test_what_cannot_be_detected_is_refused(several, audio, settings, reason):
    with pytest.raises(ValueError, match=reason):
        several.generate(**audio, **settings)


def test_a_trained_row_finds_a_language_that_whisper_has_no_token_for(several):
    train, test = places(several, ["ga", "gl", "ru"]), places(several, ["ga", "gl", "ru"])
    own_before = several.logits_of_languages(test["gl"])[0]
    fitted = fit_detection(several, train, ["ga", "gl"])
    assert fitted["loss"] < fitted["loss_before"]
    for name in ("ga", "gl"):
        logits, tokens = several.logits_of_languages(test[name], detection="trained")
        assert (tokens[logits.argmax(dim=1)] == several.language_tokens()[name]).float().mean() > 0.9, name
    assert torch.equal(several.logits_of_languages(test["gl"])[0], own_before), "Whisper's own stays"


def test_rows_that_were_not_asked_for_keep_whispers_logits(several):
    states = places(several, ["ga", "gl", "ru"])
    before, tokens = several.logits_of_languages(states["ru"])
    fit_detection(several, states, ["ga"])
    after, tokens_after = several.logits_of_languages(states["ru"], detection="trained")
    shared = [tokens_after.tolist().index(token) for token in tokens.tolist()]
    assert torch.equal(after[:, shared], before) and several.config.detection_languages == ["ga"]


def test_a_language_with_many_recordings_does_not_drown_one_with_few(several):
    """Summed over recordings, the loss would leave four recordings of 404 to be wrong."""
    states = places(several, ["ga", "gl"])
    states = {"ga": states["ga"][:4], "gl": states["gl"].repeat(10, 1)}
    fit_detection(several, states, ["ga"], validation=states)
    logits, tokens = several.logits_of_languages(states["ga"], detection="trained")
    assert (tokens[logits.argmax(dim=1)] == several.language_tokens()["ga"]).all()


@pytest.mark.parametrize(
    ("names", "languages", "reason"),
    [
        (["ga", "gl"], ["ru"], "No expert of 'ru' is loaded"),
        (["gl", "ru"], ["ga"], "no recordings of 'ga'"),
        (["ga"], ["ga"], "Expected some of a language to tell it from"),
    ],
)
def test_a_fit_that_makes_no_sense_is_refused(several, names, languages, reason):
    with pytest.raises(ValueError, match=reason):
        fit_detection(several, places(several, names), languages)
    assert not several.config.detection_languages


def test_rows_are_saved_with_their_language_and_loaded_with_it_alone(several, processor, audio, tmp_path):
    fit_detection(several, places(several, ["ga", "gl", "ru"]), ["ga", "gl"])
    several.save_pretrained(tmp_path)
    features = audio["input_features"]
    expected = several.language_probabilities(features, detection="trained")
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.language_probabilities(features, detection="trained") == expected
    one = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path, languages=["gl"])
    assert one.config.detection_languages == ["gl"]
    assert not any(weight.requires_grad for name, weight in one.named_parameters() if "detection" in name)
    found = one.language_probabilities(features, detection="trained")
    assert all("ga" not in row for row in found)
    one.remove_language("gl")
    assert one.config.detection_languages == [] and one.language_probabilities(features, detection="trained")


def test_rows_that_were_fitted_before_compete_with_a_new_one(whisper_dir):
    """A row told from Whisper's languages alone would win over the ones that are there, or lose to them unseen."""
    names = ["ga", "kab", "ru"]
    starts = {"ga": "fr", "kab": "ca"}
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga", "kab"], init_from=starts).eval()
    states = places(model, names)
    with pytest.raises(ValueError, match=r"\['kab'\] have neither a token of Whisper's nor a detection row"):
        fit_detection(model, states, ["ga"])
    fit_detection(model, {name: states[name] for name in ("ga", "ru")}, ["ga"])
    first = model.modules_of("ga").parts.detection_weight.clone()
    fit_detection(model, states, ["kab"])
    assert torch.equal(model.modules_of("ga").parts.detection_weight, first)
    for name in ("ga", "kab"):
        logits, tokens = model.logits_of_languages(states[name], detection="trained")
        assert (tokens[logits.argmax(dim=1)] == model.language_tokens()[name]).float().mean() > 0.9, name


def test_weights_that_are_read_again_bring_or_take_away_a_row_and_keep_the_embeddings_parameter(several, tmp_path):
    several.save_experts(tmp_path / "without")
    fit_detection(several, places(several, ["ga", "gl", "ru"]), ["ga", "gl"])
    several.save_experts(tmp_path / "with")
    embedding = several.modules_of("ga").parts.embedding
    several.reload_experts(tmp_path / "without")
    assert several.config.detection_languages == [] and several.modules_of("gl").parts is None
    several.reload_experts(tmp_path / "with")
    assert {*several.config.detection_languages} == {"ga", "gl"}
    assert several.modules_of("ga").parts.embedding is embedding, "an optimizer has it"


def test_a_subset_of_a_state_dict_detects_with_its_own_rows_alone(several, audio):
    fit_detection(several, places(several, ["ga", "gl", "ru"]), ["ga", "gl"])
    state = {name: tensor for name, tensor in several.state_dict().items() if ".experts.gl." not in name}
    config = several.config.__class__.from_dict(several.config.to_dict())
    one = type(several).from_pretrained(None, config=config, state_dict=state, languages=["ga"])
    one.generation_config = several.generation_config
    found = one.eval().language_probabilities(audio["input_features"], detection="trained")
    assert one.config.detection_languages == ["ga"] and all("ga" in row for row in found)


@pytest.mark.parametrize(
    ("validation", "reason"),
    [
        ({}, "no recordings to choose by"),
        (None, r"Expected at least 5 recordings of each language, got fewer of \['ga'\]"),
    ],
)
def test_too_few_recordings_to_fit_on_are_refused(several, validation, reason):
    states = places(several, ["ga", "gl"])
    with pytest.raises(ValueError, match=reason):
        fit_detection(several, {"ga": states["ga"][:2], "gl": states["gl"]}, ["ga"], validation)


@pytest.mark.parametrize("bad", [torch.full((32,), torch.nan), torch.ones(31), torch.ones(64)])
def test_a_row_that_is_not_finite_or_of_another_width_is_refused(several, bad):
    with pytest.raises(ValueError, match="Expected 32 finite weights"):
        several.set_detection_row("ga", bad, 0.0)
