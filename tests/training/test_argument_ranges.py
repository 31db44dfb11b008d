"""Numbers that would do something else than they say are refused, with what is expected and what came."""

import dataclasses
import math
import re

import pytest

from modeling_distilwhisper.runs.numbers import COUNT, Range
from modeling_distilwhisper.training.arguments import RANGES, DistilWhisperTrainingArguments


def make(tmp_path, **settings):
    return DistilWhisperTrainingArguments(output_dir=str(tmp_path), report_to="none", **settings)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("per_device_train_batch_size", 0, "a whole number of 1 or more"),  # all rows in one batch
        ("per_device_eval_batch_size", -1, "a whole number of 1 or more"),
        ("gradient_accumulation_steps", 0, "a whole number of 1 or more"),
        ("generation_num_beams", 0, "a whole number of 1 or more"),
        ("max_steps", 0, "a whole number of 1 or more, or -1"),  # it would train for all epochs
        ("max_steps", -2, "a whole number of 1 or more, or -1"),
        ("save_steps", -2, "a number above 0"),
        ("kd_beta_max", 0.0, "a number above 0"),
        ("language_temperature", 0.5, "a number of 1 or more"),
        ("gate_momentum", 1.5, "a number above 0, at most 1"),
        ("label_smoothing_factor", 1.0, "a number from 0 to below 1"),
        ("per_device_train_batch_size", 2.5, "a whole number of 1 or more"),
        ("per_device_train_batch_size", True, "a whole number of 1 or more"),
        ("num_train_epochs", "2", "a number above 0"),
        ("seed", -1, "a whole number from 0 to 4294967295"),
    ],
)
def test_a_number_out_of_range_is_refused_with_what_is_expected(tmp_path, name, value, expected):
    with pytest.raises(ValueError, match=re.escape(f"--{name}: expected {expected}, got {value!r}.")):
        make(tmp_path, **{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", RANGES)
def test_no_number_may_be_nan_or_infinite(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"--{name}: expected .*, got {value}"):
        make(tmp_path, **{name: value})


def test_every_number_among_the_arguments_has_a_range():
    """Those of a later version of Transformers too."""
    numbers = {
        field.name
        for field in dataclasses.fields(DistilWhisperTrainingArguments)
        if field.init and re.search(r"\b(int|float)\b", str(field.type))
    }
    without = {"local_rank", "warmup_ratio"}  # the launcher's, -1 for none; and one that was given up for warmup_steps
    assert numbers - RANGES.keys() <= without


def test_what_transformers_allows_stays_allowed(tmp_path):
    arguments = make(tmp_path, max_steps=-1, max_grad_norm=0.0, save_total_limit=None, eval_steps=0.1, warmup_steps=0.1)
    assert arguments.max_steps == -1 and arguments.save_total_limit is None and arguments.eval_steps == 0.1


def test_a_range_names_its_ends():
    assert 1 in COUNT and 0 not in COUNT and 1.5 not in COUNT and "1" not in COUNT and False not in COUNT
    assert 1.0 not in Range(float, 0, 1, below=True) and 0.0 not in Range(float, 0, above=True)
    assert -1 in Range(int, 1, also=-1) and 0 not in Range(int, 1, also=-1)


# By its name before Transformers 5.23, and since.
CHECKPOINTING = [
    field.name
    for field in dataclasses.fields(DistilWhisperTrainingArguments)
    if field.name in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs")
]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kd_divergence": "l2"}, "--kd_divergence must be one of js, kl, got 'l2'"),
        ({"kd_temperature": 0.0}, "--kd_temperature: expected a number above 0"),
        ({"gate_momentum": 0.0}, "--gate_momentum: expected a number above 0, at most 1"),
        ({"kd_beta": -1.0}, "--kd_beta: expected a number of 0 or more"),
        ({"warmup_epochs": -1.0}, "--warmup_epochs: expected a number of 0 or more"),
        ({"normalizer": "none"}, "The normalizer must be one of marks, report, got 'none'"),
        *(({name: {"use_reentrant": True}}, "use_reentrant must be false") for name in CHECKPOINTING),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        DistilWhisperTrainingArguments(output_dir=str(tmp_path), **settings)
