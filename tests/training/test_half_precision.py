"""Half precision trains as float32 does but for its rounding, and models are scored in their own precision."""

from functools import partial

import pytest
import torch
from helpers.training import load, make_trainer, rows_of
from transformers import WhisperForConditionalGeneration


def test_a_teacher_in_half_precision_teaches(whisper_dir, whisper, processor, recordings, tmp_path):
    model = load(whisper_dir, ["gl"])
    trainer = make_trainer(
        model,
        processor,
        recordings,
        tmp_path,
        teacher=whisper.to(torch.bfloat16),
        max_steps=2,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    trainer.train()
    assert 0 <= trainer.state.log_history[0]["kd_loss"] < 0.1  # the same model, but for its rounding


def note_dtype(seen, module, given, output):
    seen.append(output.dtype)


@pytest.mark.slow
def test_bfloat16_trains_as_float32_does_but_for_its_rounding(whisper_dir, whisper, processor, recordings, tmp_path):
    """With gradient checkpointing, as one would on a small GPU; the weights that learn stay in float32."""
    ends = []
    for settings in ({}, {"bf16": True, "activation_checkpointing": True}):
        model = load(whisper_dir, ["gl"])
        off = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        trainer = make_trainer(
            model, processor, recordings, tmp_path, teacher=whisper, num_train_epochs=4, **off, **settings
        )
        seen: list[torch.dtype] = []
        hook = whisper.model.encoder.layers[0].fc1.register_forward_hook(partial(note_dtype, seen))
        trainer.train()
        assert set(seen) == {torch.bfloat16 if settings else torch.float32}, "the teacher's precision"
        hook.remove()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        ends.append([entry["ce_loss"] for entry in trainer.state.log_history if "ce_loss" in entry])
    full, rounded = ends
    assert rounded[0] == pytest.approx(full[0], rel=0.02) and rounded != full
    assert sum(rounded[-3:]) == pytest.approx(sum(full[-3:]), rel=0.1)


def test_a_teacher_in_half_precision_is_scored_in_it(whisper_dir, processor, recordings, tmp_path):
    half = WhisperForConditionalGeneration.from_pretrained(whisper_dir, dtype=torch.bfloat16)
    trainer = make_trainer(half, processor, recordings, tmp_path)
    metrics = trainer.predict(rows_of(recordings, ["gl"], "test")).metrics
    assert metrics["test_words"] == 8 and next(half.parameters()).dtype == torch.bfloat16


@pytest.mark.slow
def test_training_in_bfloat16_continues_after_the_model_was_scored(whisper_dir, processor, recordings, tmp_path):
    """Undoing what scoring wrapped around the model must not undo what it is made of."""
    model = load(whisper_dir, languages=["gl"])
    settings = {"bf16": True, "num_train_epochs": 1, "eval_strategy": "epoch", "save_strategy": "epoch"}
    trainer = make_trainer(model, processor, recordings, tmp_path, **settings)
    before = trainer.predict(rows_of(recordings, ["gl"], "test")).metrics
    trainer.train()
    after = trainer.predict(rows_of(recordings, ["gl"], "test")).metrics
    assert before["test_words"] == after["test_words"] == 8
    trainer.release()
    assert "forward" not in vars(model)
