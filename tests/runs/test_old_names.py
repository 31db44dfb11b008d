"""What an earlier version wrote or was given is read under today's names, and one warning says what changed."""

import json
import logging
from dataclasses import dataclass, field

import pytest
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from modeling_distilwhisper.evaluation.metrics import error_rates
from modeling_distilwhisper.runs.old_names import read_json, with_new_flags
from modeling_distilwhisper.runs.run_folder import RunFolder
from modeling_distilwhisper.runs.settings import defaults_of, parse_settings
from modeling_distilwhisper.runs.settings_file import read_settings


@dataclass
class Arguments:
    precision: list[str] = field(default_factory=lambda: ["float32"])
    normalizer: str = "marks"
    experts_from: str | None = None


@pytest.fixture
def warnings():
    """The lines that the library logs."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    logger, handler = transformers_logging.get_logger("modeling_distilwhisper"), Handler()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    "argv",
    [
        ["--dtype", "int8", "--normalizer", "paper"],
        ["--precisions", "int8", "--normalizer=paper"],
        ["--dtype=int8", "--normalizer", "paper"],
    ],
)
def test_old_flags_are_read_with_one_warning_that_names_the_new_ones(warnings, argv):
    (arguments,) = parse_settings(HfArgumentParser(Arguments), with_new_flags(argv))
    assert (arguments.precision, arguments.normalizer) == (["int8"], "report")
    assert len(warnings) == 1 and "-> precision" in warnings[0] and "paper -> normalizer report" in warnings[0]


def test_todays_flags_are_left_alone(warnings):
    argv = ["paper", "--normalizer", "marks", "--openness", "paper", "--output_dir", "paper", "--dtypest", "float32"]
    assert with_new_flags(argv) == argv and not warnings


def test_old_settings_files_are_read_and_flags_after_them_too(warnings, tmp_path):
    file = tmp_path / "bias.yaml"
    file.write_text("precisions: [float32, int8]\nnormalizer: marks\n")
    argv = with_new_flags([str(file), "--normalizer", "paper"])
    (arguments,) = parse_settings(HfArgumentParser(Arguments), argv)
    assert (arguments.precision, arguments.normalizer) == (["float32", "int8"], "report")
    assert len(warnings) == 2 and str(file) in warnings[1] and "precisions -> precision" in warnings[1]


def test_old_results_are_read_wherever_results_stand_with_one_warning(warnings, tmp_path):
    path = tmp_path / "results.json"
    old = {
        "scores": {"gates shut": {"in": {"gl": {"wer": 0.1, "normalizer": "paper"}}}},
        "settings": {"model": {"student": "m"}, "training": {"dtype": "int8", "normalizer": "paper"}},
        "openness at inference": {"gl": {"all": 0.5}},
        "dtype": "int8",
        "log_history": [{"encoder_openness": 0.4, "decoder_openness": 0.6, "openness_gl": 0.5, "loss": 1.0}],
        "title": "paper",
    }
    path.write_text(json.dumps(old))
    assert read_json(path) == {
        "scores": {"gates closed": {"in": {"gl": {"wer": 0.1, "normalizer": "report"}}}},
        "settings": {"model": {"student": "m"}, "training": {"precision": "int8", "normalizer": "report"}},
        "expert usage at inference": {"gl": {"all": 0.5}},
        "precision": "int8",
        "log_history": [
            {"encoder_expert_usage": 0.4, "decoder_expert_usage": 0.6, "expert_usage_gl": 0.5, "loss": 1.0}
        ],
        "title": "paper",
    }
    assert len(warnings) == 1 and "openness at inference -> expert usage at inference" in warnings[0]


@pytest.mark.parametrize("name", ["dtype", "openness", "gates shut", "normalizer"])
def test_systems_and_data_sets_keep_their_names(warnings, tmp_path, name):
    content = {
        "scores": {"after": {name: {"gl": {"wer": 0.1}}}},
        "means": [{"group": "all", name: 0.1}],
        "systems": {name: {"kd_beta": 0}},
        "best by language": {name: {"step": 1}},
    }
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "results.json") == content and not warnings


def test_old_settings_of_a_comparison_are_read(warnings, tmp_path):
    file = tmp_path / "compare.yaml"
    file.write_text("settings: run.yaml\nshared: {dtype: int8}\nsystems: {dtype: {dtype: nf4, normalizer: paper}}\n")
    assert read_settings(file) == {
        "settings": "run.yaml",
        "shared": {"precision": "int8"},
        "systems": {"dtype": {"precision": "nf4", "normalizer": "report"}},
    }


def test_a_folder_that_an_earlier_version_began_is_resumed(tmp_path):
    (tmp_path / "settings.json").write_text('{"run": {"model": "m", "dtype": "int8", "normalizer": "paper"}}')
    now = {"run": {"model": "m", "precision": "int8", "normalizer": "report", "experts_from": None}}
    assert RunFolder(tmp_path, now).read("results.json") is None
    with pytest.raises(ValueError, match=r"other settings: precision 'int8', now 'nf4'\."):
        RunFolder(tmp_path, {"run": now["run"] | {"precision": "nf4"}})


def test_a_setting_that_did_not_exist_then_has_its_default(tmp_path):
    (tmp_path / "settings.json").write_text('{"model": {"student": "m"}}')
    defaults = defaults_of(Arguments)
    assert RunFolder(tmp_path, {"model": {"student": "m", "normalizer": "marks", "precision": ["float32"]}}, defaults)
    with pytest.raises(ValueError, match=r"other settings: normalizer 'marks', now 'report'\."):
        RunFolder(tmp_path, {"model": {"student": "m", "normalizer": "report"}}, defaults)


def test_the_earlier_name_of_the_reports_normaliser_is_an_alias():
    assert error_rates(["ก ข"], ["กข"], "paper", "th") == error_rates(["ก ข"], ["กข"], "report", "th")
    assert error_rates(["a"], ["a"], "paper")["normalizer"] == "report"


def test_values_of_a_settings_file_stay_as_written_and_have_types_within_mappings(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "languages: [no, 12, yes]\nrate: 3e-5\nname: 007\nnone: null\nempty: ''\nquoted: 'null'\n"
        "systems: {a: {languages: [no], on: true, off: no, rate: 3e-5, date: 2023-03-09, number: 010}}\n"
    )
    assert read_settings(file) == {
        "languages": ["no", "12", "yes"],
        "rate": "3e-5",
        "name": "007",
        "none": None,
        "empty": "",
        "quoted": "null",
        "systems": {
            "a": {"languages": ["no"], "on": True, "off": "no", "rate": 3e-5, "date": "2023-03-09", "number": "010"}
        },
    }
