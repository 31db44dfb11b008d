"""Every setting out of its range is refused by name, and what is saved is what is read."""

import dataclasses
import inspect

import pytest

from modeling_distilwhisper import DistilWhisperConfig, DistilWhisperForConditionalGeneration
from modeling_distilwhisper.language_names_distilwhisper import language_names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate_budget": 1.5}, "`gate_budget` must be from 0 to 1, got 1.5"),
        ({"skip_gate_prob": 1.0}, "`skip_gate_prob` must be from 0 to below 1, got 1.0"),
        ({"gate_dropout": -0.1}, "`gate_dropout` must be"),
        ({"expert_dropout": 2}, "`expert_dropout` must be"),
        ({"gate_noise_max": -1.0}, "`gate_noise_max` must be finite, 0 or more, got -1.0"),
        ({"gate_dim": 0}, "`gate_dim` must be from 1 to 65536, got 0"),
        ({"expert_rank": -1}, "`expert_rank` must be from 0"),
        ({"expert_rank": 384}, r"`expert_rank` must be from 0 \(full\) to 383, got 384"),
        ({"gate_training": "firm"}, "`gate_training` must be 'hard' or 'soft', got 'firm'"),
        ({"languages": ["gl", "gl"]}, "names a language twice"),
        ({"languages": ["galician"]}, "'galician' is not a language code"),
        ({"clsr_gate_dim": 16}, "of the method's authors, expected a converted one.*distilwhisper convert-authors"),
        ({"languages": ["../x"]}, "'../x' is not a language code"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistilWhisperConfig(**settings)


def test_what_is_saved_is_what_is_read(tmp_path):
    config = DistilWhisperConfig(languages=["gl"], language_token_ids={"gl": 50319}, gate_budget=0.3, expert_rank=8)
    config.save_pretrained(tmp_path)
    assert DistilWhisperConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert config.to_dict()["model_type"] == "distilwhisper"


def test_a_language_without_a_token_is_named():
    with pytest.raises(ValueError, match="has no token for 'gl'"):
        DistilWhisperConfig(languages=["gl"]).experts_by_token  # noqa: B018


def test_a_setting_given_on_loading_is_checked_too(tmp_path):
    DistilWhisperConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`gate_budget` must be from 0 to 1, got 7"):
        DistilWhisperConfig.from_pretrained(tmp_path, gate_budget=7)
    config, unused = DistilWhisperConfig.from_pretrained(
        tmp_path, gate_budget=0.3, device_map="cpu", return_unused_kwargs=True
    )
    assert config.gate_budget == 0.3
    assert unused == {"device_map": "cpu"}


def test_from_whisper_names_every_setting_of_gates_and_experts_with_the_defaults_of_the_config():
    defaults = {field.name: field.default for field in dataclasses.fields(DistilWhisperConfig)}
    parameters = inspect.signature(DistilWhisperForConditionalGeneration.from_whisper).parameters
    settings = {name for name in defaults if name.startswith(("gate_", "expert_", "skip_"))}
    assert {"gate_budget", "expert_rank"} <= settings
    assert {name: parameters[name].default for name in settings} == {name: defaults[name] for name in settings}


@pytest.mark.parametrize("languages", [None, 7, {"gl": 1}, {"gl"}, "gl"])
def test_languages_that_are_no_list_are_refused_in_a_sentence(languages):
    """A config.json from elsewhere may hold anything. A mapping would be taken for its keys, a text for its letters."""
    with pytest.raises(ValueError, match="`languages` must be a list of codes"):
        language_names(languages)
