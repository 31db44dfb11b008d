"""Numbers that a setting cannot take are refused by every command and function that takes them, before any work."""

import argparse
import dataclasses

import pytest
import torch
from helpers.scripts import ROOT
from transformers import Seq2SeqTrainingArguments

import distilwhisper_cli
from modeling_distilwhisper import transcribe_rows
from modeling_distilwhisper.commands import command_line
from modeling_distilwhisper.evaluation.gates import batches_of
from modeling_distilwhisper.runs.numbers import COUNT, RANGES, Range
from modeling_distilwhisper.runs.records import RecordFile

OF_TRAINER = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
# Settings of training, which are checked with the other settings of training.
OF_TRAINING = {"gate_budget", "skip_gate_prob"}


def parsers_of(words, monkeypatch, capsys) -> list[argparse.ArgumentParser]:
    """The parsers that a command makes."""
    parsers = []
    print_help = argparse.ArgumentParser.print_help
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda self: (parsers.append(self), print_help(self)))
    with pytest.raises(SystemExit):
        distilwhisper_cli.main([*words, "--help"])
    capsys.readouterr()
    return parsers


WORDS = [["export", "--format", "onnx"], ["benchmark", "train"], ["benchmark", "infer"], ["benchmark", "quality"]]


@pytest.mark.parametrize("words", [*([name] for name in distilwhisper_cli.COMMANDS), *WORDS])
def test_every_number_of_every_command_has_a_range(words, monkeypatch, capsys):
    for parser in parsers_of(words, monkeypatch, capsys):
        for action in parser._actions:
            if action.dest in OF_TRAINER or action.dest in OF_TRAINING or action.dest.startswith("kd_"):
                continue
            assert action.type is not int and action.type is not float, f"{words} --{action.dest} takes any number"


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("batch_size", ["0", "-1", "1.5", "nan", "inf", "x", "", "1e3", "99999999999999999999", "9" * 5000]),
        ("num_beams", ["0", "-3"]),
        ("max_rows", ["0", "-1"]),
        ("rounds", ["0"]),
        ("rank", ["0", "-1"]),
        ("workers", ["-1"]),
        ("k", ["-1"]),
        ("tokens", ["5", "441"]),
        ("port", ["0", "65536"]),
        ("gate_dim", ["0", "1.5"]),
        ("gate_dropout", ["1", "-0.1", "nan"]),
        ("expert_dropout", ["1", "-0.1"]),
        ("lora_dropout", ["1", "-0.1"]),
        ("lora_alpha", ["0", "-1", "0.5"]),
        ("temperatures", ["0", "-1", "nan", "inf", "-inf", "1e999"]),
    ],
)
def test_a_number_out_of_range_is_refused_with_what_was_expected(setting, values, capsys):
    parser = command_line.make_parser("", "distilwhisper x")
    parser.add_argument(f"--{setting}", type=float)
    for value in values:
        with pytest.raises(SystemExit):
            parser.parse_args([f"--{setting}={value}"])
        assert f"--{setting}: expected {RANGES[setting]}, got {value!r}" in capsys.readouterr().err


def test_a_file_of_settings_is_held_to_the_same_ranges(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("models: [a]\ndata: [b]\nlanguages: [gl]\noutput_dir: c\nbatch_size: 0\n")
    with pytest.raises(SystemExit):
        distilwhisper_cli.main(["eval", str(tmp_path / "run.yaml")])
    assert "run.yaml: batch_size: expected a whole number of 1 or more, got '0'." in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_number_of_training_is_infinite_or_none_at_all(value, capsys):
    with pytest.raises(SystemExit):
        distilwhisper_cli.main(["train", f"--learning_rate={value}"])
    assert f"expected a number, got '{value}'" in capsys.readouterr().err


@pytest.mark.parametrize("value", [0, -1, 1.5, True, float("nan"), "2", None])
def test_functions_refuse_them_too(tmp_path, value):
    file = RecordFile(tmp_path / "gl.jsonl")
    for call in (
        lambda: transcribe_rows(file, None, None, None, batch_size=value),
        lambda: transcribe_rows(file, None, None, None, num_beams=value),
        lambda: next(batches_of(None, None, value, "cpu")),
    ):
        with pytest.raises(ValueError, match=r"(batch_size|num_beams): expected a whole number of 1 or more, got"):
            call()
    assert not file.path.exists()


def test_the_ends_of_a_range_and_numbers_of_other_libraries_are_in_it():
    assert COUNT.check("n", torch.tensor([3]).numpy()[0]) == 3 and 1 in COUNT and 2**31 not in COUNT
    share = Range(float, 0, 1)
    assert 0 in share and 1 in share and 0.0 in share and 1.0001 not in share and float("nan") not in share
    assert str(share) == "a number from 0 to 1" and str(RANGES["temperatures"]) == "a number above 0"


@pytest.mark.parametrize("device", ["banana", "", "cuda:99", "meta", "cpu:x", "CPU", "mps:7"])
def test_an_unknown_device_is_refused_before_anything_is_loaded(device, capsys):
    command = ["gates", "--models", str(ROOT), "--data", "b", "--languages", "gl", "--output_dir", "c"]
    with pytest.raises(SystemExit):
        distilwhisper_cli.main([*command, f"--device={device}"])
    assert f"--device: expected a device of this machine, such as cpu, got {device!r}" in capsys.readouterr().err
