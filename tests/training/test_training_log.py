"""What a training tells, in trackers and by its bars, is what it did."""

import re

import pytest
from helpers.training import load, make_trainer, rows_of


def test_tensorboard_shows_loss_parts_noise_gates_and_scores_by_language(
    whisper_dir, whisper, processor, recordings, tmp_path
):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = load(whisper_dir, gate_training="soft")
    settings = {"teacher": whisper, "report_to": "tensorboard", "kd_beta_schedule": "linear"}
    trainer = make_trainer(model, processor, recordings, tmp_path, ("gl", "ca"), **settings)
    trainer.train()
    events = reader.EventAccumulator(str(next(tmp_path.rglob("events.out.tfevents*")).parent)).Reload()
    training = {
        "ce_loss",
        "kd_loss",
        "gate_loss",
        "kd_beta",
        "gate_noise",
        "encoder_expert_usage",
        "decoder_expert_usage",
    }
    training |= {f"{name}_{language}" for name in ("expert_usage", "utterances", "steps") for language in ("gl", "ca")}
    wanted = {f"train/{name}" for name in training} | {f"eval/wer_{language}" for language in ("gl", "ca")}
    assert wanted <= set(events.Tags()["scalars"])
    beta = [entry.value for entry in events.Scalars("train/kd_beta")]
    assert beta == pytest.approx([2.0 * (1 - step / 12) for step in range(12)])
    logged = [entry["ce_loss"] for entry in trainer.state.log_history if "ce_loss" in entry]
    assert [entry.value for entry in events.Scalars("train/ce_loss")] == pytest.approx(logged)


def test_the_log_counts_each_languages_utterances_and_steps_and_its_gates(whisper_dir, processor, recordings, tmp_path):
    model = load(whisper_dir, gate_budgets={"gl": 0.8}, gate_budget=0.2)
    settings = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(
        model, processor, recordings, tmp_path, ("gl", "ca"), num_train_epochs=15, gate_momentum=0.5, **settings
    )
    trainer.train()
    last = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    assert last["utterances_gl"] == last["utterances_ca"] == 15 * 12
    assert 0 < last["steps_gl"] <= 90 and 0 < last["steps_ca"] <= 90
    assert last["expert_usage_gl"] == pytest.approx(0.8, abs=0.2)
    assert last["expert_usage_ca"] == pytest.approx(0.2, abs=0.2)


def test_the_bars_show_loss_gates_error_rate_and_time_left(
    whisper_dir, whisper, processor, recordings, tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")  # a wide terminal: old releases of tqdm take 80 where there is none
    monkeypatch.setenv("LINES", "50")
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, teacher=whisper, disable_tqdm=False)
    trainer.train()
    trainer.predict(rows_of(recordings, ["gl"], "test"))
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    bars = [line for line in lines if line.startswith("Training")]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    wer = [entry["eval_wer"] for entry in trainer.state.log_history if "eval_wer" in entry]
    assert re.search(r"100%.* 6/6 \[\d\d:\d\d<00:00", bars[-1]), "steps, and time gone and left"
    assert f"loss {losses[-1]:.3g} kd 0." in bars[-1] and f"WER {wer[-1]:.2f}" in bars[-1]
    assert re.search(r"experts enc 0\.\d\d dec 0\.\d\d ", bars[-1]), "encoder and decoder"
    assert any(line.startswith("Scoring") for line in lines)
    assert not any("'loss'" in line for line in lines), "no lines of raw figures between"


@pytest.mark.slow
def test_the_bar_of_a_resumed_run_starts_where_it_stopped(whisper_dir, processor, recordings, tmp_path, capfd):
    settings = {"num_train_epochs": 1, "disable_tqdm": False, "lr_scheduler_type": "constant"}
    make_trainer(load(whisper_dir), processor, recordings, tmp_path, **settings).train()
    capfd.readouterr()
    settings["num_train_epochs"] = 2
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    steps = [int(match[1]) for line in lines if (match := re.search(r"^Training.* (\d)/6 \[", line))]
    assert steps[0] == 3 and steps[-1] == 6
