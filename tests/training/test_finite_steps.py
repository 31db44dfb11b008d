"""A loss or gradient that is not finite changes nothing, is counted and named; nothing that is not finite is saved."""

import json
import math

import pytest
import torch
from helpers import tiny
from helpers.training import load, make_trainer
from safetensors.torch import load_file

from modeling_distilwhisper.training import finite_steps
from modeling_distilwhisper.training.finite_steps import check_finite, check_finite_state

QUIET = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "num_train_epochs": 1}


def spoil(trainer, steps, spoiled):
    """Spoils the features of the batches of these steps, counted from 0: what a damaged recording does."""
    collate = trainer.data_collator
    batches = iter(range(10**6))

    def spoiling(rows):
        batch = collate(rows)
        if next(batches) in steps:
            spoiled.append([row["id"] for row in rows])
            batch["input_features"] = batch["input_features"].clone()
            batch["input_features"][0, 0, 0] = math.inf
        return batch

    trainer.data_collator = spoiling


@pytest.fixture
def trainer_of(whisper_dir, processor, recordings, tmp_path):
    def make(**settings):
        model = load(whisper_dir, ["gl"])
        return make_trainer(model, processor, recordings, tmp_path, **{**QUIET, **settings})

    return make


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(trainer_of, caplog, accumulation):
    """Weights, thresholds and beta stay; the log has the mean of the other steps, where it had 0.0."""
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": accumulation, "logging_steps": 2}
    trainer = trainer_of(max_steps=4, **settings)
    states, spoiled = [], []
    spoil(trainer, [accumulation - 1, 3 * accumulation], spoiled)
    end = trainer._end_step
    trainer._end_step = lambda **how: (end(**how), states.append((how["is_taken"], tiny.state_of(trainer.model))))
    result = trainer.train()
    assert [is_taken for is_taken, _ in states] == [False, True, True, False]
    for name, tensor in states[1][1].items():
        same = torch.equal(states[0][1][name], tensor)
        assert same or name.endswith("threshold"), "the first step changed no weight, the second its thresholds"
    final = tiny.state_of(trainer.model)
    assert all(tensor.isfinite().all() for name, tensor in final.items() if not name.endswith("threshold"))
    assert all(torch.equal(states[3][1][name], tensor) for name, tensor in final.items())
    lines = [entry for entry in trainer.state.log_history if "learning_rate" in entry]
    assert [line["skipped_steps"] for line in lines] == [1, 2]
    for line in lines:
        parts = line["ce_loss"] + line["gate_loss"]
        assert line["loss"] == pytest.approx(parts, rel=1e-4), "of the step that was taken"
        assert all(math.isfinite(value) for value in line.values())
    assert "grad_norm" in lines[0] and "grad_norm" not in lines[1], "the last step has none"
    assert result.metrics["skipped_steps"] == 2 and lines[1]["utterances_gl"] == 2 * 2 * accumulation
    assert result.training_loss == pytest.approx((lines[0]["loss"] + lines[1]["loss"]) / 2, rel=1e-4)
    for names in spoiled:
        assert any(all(name in record.message for name in names) for record in caplog.records)


def test_several_steps_in_a_row_stop_the_run_with_the_rows_of_the_batch(trainer_of, tmp_path, monkeypatch):
    monkeypatch.setattr(finite_steps, "STEPS_IN_A_ROW", 3)
    trainer = trainer_of(num_train_epochs=9, save_strategy="steps", save_steps=1)
    spoiled: list[list[str]] = []
    spoil(trainer, range(2, 99), spoiled)
    with pytest.raises(ValueError, match=r"3 steps in a row had a loss .* up to step 5 .* Leave out rows") as caught:
        trainer.train()
    last = spoiled[2]  # later ones were only fetched
    assert all(f"train gl {name}" in str(caught.value) for name in last) and len(last) == 4
    for file in tmp_path.rglob("*.safetensors"):
        assert all(t.isfinite().all() for name, t in load_file(file).items() if not name.endswith("threshold"))
    assert "NaN" not in "".join(path.read_text() for path in tmp_path.rglob("*state.json"))


def test_a_run_that_took_no_step_says_so(trainer_of):
    trainer = trainer_of(max_steps=2)
    spoil(trainer, range(9), [])
    with pytest.raises(ValueError, match="Each of the 2 steps of this training .* Nothing was learned"):
        trainer.train()


def test_weights_that_grow_beyond_all_numbers_are_not_saved(trainer_of, tmp_path):
    """Gradients were finite: what is at fault is the learning rate, not a row."""
    settings = {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    trainer = trainer_of(save_strategy="steps", save_steps=1, warmup_epochs=0.0, **settings)
    trainer.args.learning_rate = 3e38  # above what an argument may be, to do in one step what others do in many
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            weight.register_hook(lambda grad: torch.full_like(grad, 1e3))
    with pytest.raises(ValueError, match="The model at step 1 is refused: .* are not finite.* lower --learning_rate"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))
    with pytest.raises(ValueError, match="is refused"):
        trainer.save_model(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="is refused"):
        trainer.best_experts.keep(trainer.model, {"gl": 0.1}, 1, more_is_better=False)
    assert not list(tmp_path.rglob("expert*"))


def test_a_score_that_is_not_finite_is_no_best_one(trainer_of):
    trainer = trainer_of()
    trainer.best_experts.keep(trainer.model, {"gl": math.nan}, 1, more_is_better=False)
    assert trainer.best_experts.scores() == {}
    trainer.best_experts.keep(trainer.model, {"gl": 0.5}, 2, more_is_better=False)
    trainer.best_experts.keep(trainer.model, {"gl": -math.inf}, 3, more_is_better=False)
    assert trainer.best_experts.scores()["gl"] == {"step": 2, "score": 0.5}


def test_validation_counts_rows_whose_loss_is_not_finite(trainer_of):
    trainer = trainer_of(per_device_eval_batch_size=2)
    whole = trainer.evaluate()
    spoil(trainer, [0], [])
    scores = trainer.evaluate()
    assert "eval_rows_not_finite" not in whole and scores["eval_rows_not_finite"] == 1
    assert math.isfinite(scores["eval_loss"]) and json.dumps(scores, allow_nan=False)
    assert scores["eval_loss_gl"] == scores["eval_loss"] != whole["eval_loss"], "the language's loss leaves it out too"


def test_a_gate_may_be_open_for_ever_and_a_state_may_not_be_infinite(fresh):
    check_finite(fresh, "The model")
    gate = fresh.model.encoder.layers[0].experts["gl"].gate
    gate.threshold.fill_(math.nan)
    with pytest.raises(ValueError, match="threshold"):
        check_finite(fresh, "The model")
    optimizer = torch.optim.AdamW(gate.parameters())
    for weight in gate.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    check_finite_state(optimizer, "The state")
    next(iter(optimizer.state.values()))["exp_avg"].fill_(math.inf)
    with pytest.raises(ValueError, match="exp_avg"):
        check_finite_state(optimizer, "The state")


def test_a_scale_of_half_precision_that_is_too_large_at_first_ends_no_run(trainer_of):
    """A scaler begins too high and halves its scale at each overflow: no row is at fault, however many there are."""
    trainer = trainer_of(max_steps=24, logging_steps=24)
    accelerator = trainer.accelerator
    accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu", init_scale=2.0**24), True
    before = accelerator.state._mixed_precision
    accelerator.state._mixed_precision = "fp16"  # as on a GPU; CPUs have no scaler
    try:
        result = trainer.train()
    finally:
        accelerator.state._mixed_precision = before
    assert finite_steps.STEPS_IN_A_ROW < result.metrics["skipped_steps"] < 24
    assert math.isfinite(result.training_loss) and accelerator.scaler.get_scale() < 2.0**24
    check_finite(trainer.model, "The model")
