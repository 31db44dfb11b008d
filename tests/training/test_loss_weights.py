"""Rows count in a training by their weight: the weighted mean over tokens, however a step is cut."""

import dataclasses
from collections import Counter

import pytest
import torch
from datasets import Value
from helpers import speech, tiny
from helpers.training import load, make_trainer, rows_of

from modeling_distilwhisper.commands.training_run.arguments import DataArguments
from modeling_distilwhisper.commands.training_run.results import keep_rows
from modeling_distilwhisper.commands.training_run.speech import SpeechData
from modeling_distilwhisper.data.collate import LOSS_WEIGHTS, SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.runs.run_folder import RunFolder
from modeling_distilwhisper.training.losses import count_tokens, cross_entropy, js_divergence, kl_divergence

LABELS = torch.tensor([[1, 2, 3, -100], [4, -100, -100, -100], [5, 6, -100, -100]])
WEIGHTS = torch.tensor([0.5, 3.0, 0.0])
ONE_STEP = {
    "warmup_steps": 0,
    "optim": "sgd",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "max_grad_norm": 0.0,
}


def logits(seed):
    return 3 * torch.randn(3, 4, 11, generator=torch.Generator().manual_seed(seed))


def weighted(rows, weights):
    return rows.remove_columns("loss_weight").add_column("loss_weight", weights, feature=Value("float64"))


def trained(model, processor, recordings, folder, rows, teacher=None, **settings):
    trainer = make_trainer(model, processor, recordings, folder, teacher=teacher, **{**ONE_STEP, **settings})
    trainer.train_dataset = rows
    trainer.train()
    return trainer


@pytest.mark.parametrize("loss", [cross_entropy, js_divergence, kl_divergence])
def test_a_loss_is_the_weighted_mean_over_real_tokens_and_its_parts_add_up(loss):
    def value(rows, weights=None, num_items=None):
        inputs = [logits(0)[rows]] if loss is cross_entropy else [logits(0)[rows], logits(1)[rows]]
        return loss(*inputs, LABELS[rows], num_items=num_items, weights=weights)

    rows = [0, 1, 2]
    sums = [value([row]) * count_tokens(LABELS[row]) for row in rows]
    expected = (0.5 * sums[0] + 3 * sums[1]) / (0.5 * 3 + 3 * 1)
    torch.testing.assert_close(value(rows, WEIGHTS), expected)
    items = count_tokens(LABELS, WEIGHTS)
    parts = [value([row], WEIGHTS[[row]], num_items=items) for row in rows]
    torch.testing.assert_close(sum(parts), expected)
    torch.testing.assert_close(value(rows, torch.full((3,), 0.7)), value(rows), msg="one weight for all is none")
    assert value([2], WEIGHTS[[2]]).item() == 0.0, "and not NaN"


@pytest.mark.parametrize("size", [12, 4, 1])
def test_a_row_of_weight_two_is_learned_as_if_it_were_there_twice(whisper_dir, processor, recordings, tmp_path, size):
    """By full fine-tuning, with a teacher: gates would see the repeated rows."""
    rows = rows_of(recordings, ["gl"])
    weights = [2.0 if index % 4 == 0 else 1.0 for index in range(12)]
    repeated = rows.select([*range(12), 0, 4, 8])
    results = []
    for name, data, step in (
        ("weights", weighted(rows, weights), (size, 12 // size)),
        ("repeated", repeated, (15, 1)),
    ):
        trainer = trained(
            tiny.make_whisper(processor),
            processor,
            recordings,
            tmp_path / name,
            data,
            teacher=tiny.make_whisper(processor, seed=5),
            per_device_train_batch_size=step[0],
            gradient_accumulation_steps=step[1],
            max_steps=1,
        )
        entry = trainer.state.log_history[0]
        results.append(([entry[part] for part in ("loss", "ce_loss", "kd_loss")], tiny.state_of(trainer.model)))
    (parts, states), (expected, expected_states) = results
    assert parts == pytest.approx(expected, rel=1e-4)
    start = tiny.make_whisper(processor).state_dict()
    moved = 0
    for name, tensor in expected_states.items():
        torch.testing.assert_close(states[name], tensor, atol=1e-6, rtol=1e-4, msg=name)
        moved += not torch.allclose(start[name], tensor, atol=1e-5)
    assert moved > 20


def test_weights_of_one_change_no_bit_and_reach_no_batch(whisper_dir, whisper, processor, recordings, tmp_path):
    rows = rows_of(recordings, ["gl", "ca"]).select(range(8, 16))
    states = []
    for name, data in {"ones": weighted(rows, [1.0] * 8), "without": rows.remove_columns("loss_weight")}.items():
        trainer = trained(
            load(whisper_dir), processor, recordings, tmp_path / name, data, teacher=whisper, languages=("gl", "ca")
        )
        assert LOSS_WEIGHTS not in next(iter(trainer.get_train_dataloader()))
        states.append(tiny.state_of(trainer.model))
    assert all(torch.equal(states[1][name], tensor) for name, tensor in states[0].items())


def test_a_row_of_weight_zero_teaches_nothing_whatever_it_says(whisper_dir, whisper, processor, recordings, tmp_path):
    """Neither experts nor gates, whose budget and thresholds count tokens of all rows."""
    rows = rows_of(recordings, ["gl"])
    weights = [0.0 if index % 3 == 0 else 0.5 for index in range(12)]
    strange = read_folder(speech.write_folder(tmp_path / "other", "gl", seed=9), "train")
    states, lines = [], []
    for name in ("one", "another"):
        data = weighted(rows, weights)
        if name == "another":
            mixed = list(data)
            for index in range(0, 12, 3):
                mixed[index] |= {"audio": strange[index]["audio"], "text": "x y z"}
            data = type(data).from_list(mixed, features=data.features)
        model = load(whisper_dir, ["gl"])
        tiny.unsettle(model)
        trainer = trained(
            model, processor, recordings, tmp_path / name, data, teacher=whisper, gradient_accumulation_steps=2
        )
        states.append(tiny.state_of(trainer.model))
        lines.append([line for line in trainer.state.log_history if "ce_loss" in line])
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    assert lines[0][-1]["utterances_gl"] == lines[1][-1]["utterances_gl"] == 2 * 8
    for part in ("loss", "ce_loss", "kd_loss", "gate_loss", "expert_usage_gl", "grad_norm"):
        assert lines[0][-1][part] == pytest.approx(lines[1][-1][part], rel=1e-4), part


def test_a_collator_that_knows_no_weights_is_refused_where_there_are_some(whisper_dir, processor, recordings, tmp_path):
    rows = rows_of(recordings, ["gl"])
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path)
    trainer.data_collator = lambda rows: SpeechCollator(processor)(rows)
    trainer.train_dataset = weighted(rows, [1.0] * 12)
    trainer.get_train_dataloader()
    trainer.train_dataset = weighted(rows, [0.5] * 12)
    with pytest.raises(ValueError, match=r"weights of rows \(loss_weight\).*expected a SpeechCollator"):
        trainer.get_train_dataloader()


def test_a_weight_that_is_none_leaves_its_row_out_and_no_weight_is_one(tmp_path, caplog):
    speech.write_folder(tmp_path / "gl", "gl", rows=8)
    cells = ["", " ", "0.25", "0", "-1", "nan", "1001", "much"]
    lines = [[f"{number}.flac", "la ri", cell] for number, cell in enumerate(cells)]
    speech.write_metadata(tmp_path / "gl/train", lines, header=("file_name", "transcription", "loss_weight"))
    counts: Counter[str] = Counter()
    rows = read_folder(tmp_path / "gl", "train", "gl", left_out=counts)
    assert rows["loss_weight"][:] == [1.0, 1.0, 0.25, 0.0]
    assert counts == {"loss_weight that is none": 4} and "A loss_weight is a number from 0 to 1000" in caplog.text


def test_train_data_is_only_trained_on_and_its_weights_are_multiplied(processor, recordings, tmp_path):
    labelled = tmp_path / "labelled"
    speech.write_folder(labelled, "gl", rows=4)
    for split in ("validation", "test"):
        (labelled / split / "metadata.csv").unlink()
    lines = [[f"{number}.flac", "la ri", weight] for number, weight in enumerate(["", "0.5", "0", "2"])]
    speech.write_metadata(labelled / "train", lines, header=("file_name", "transcription", "loss_weight"))
    arguments = DataArguments([str(recordings["gl"])], train_data=[str(labelled)], train_data_weight=0.5)
    data = SpeechData(arguments, ["gl"], processor, 64)
    assert data.train["loss_weight"][:] == [1.0] * 12 + [0.5, 0.25, 1.0]
    assert len(data.validation) == 4 and list(data.tests) == ["gl"]
    assert data.records[1].left_out == {"weight 0": 1} and data.records[1].rows == 3
    run = RunFolder(tmp_path / "run", {})
    keep_rows(run, data)
    keep_rows(run, data)
    other = SpeechData(dataclasses.replace(arguments, train_data_weight=0.4), ["gl"], processor, 64)
    with pytest.raises(ValueError, match="a run on other rows of labelled train gl"):
        keep_rows(run, other)
    with pytest.raises(ValueError, match="all have a loss_weight of 0|No usable row to train on"):
        SpeechData(dataclasses.replace(arguments, train_data_weight=0.0), ["gl"], processor, 64)
