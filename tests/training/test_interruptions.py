"""Killed at any moment, out of room, with a damaged checkpoint: what was reached is not lost, nor another run."""

import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from helpers import speech, tiny
from helpers.training import load, make_trainer
from transformers import trainer as transformers_trainer

from modeling_distilwhisper.runs.run_folder import RunFolder
from modeling_distilwhisper.training import best_experts, checkpoints

EVERY_TWO_STEPS = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rows = {"gl": 12, "ca": 6}
    return {code: speech.write_folder(folder / code, code, rows=count, seed=count) for code, count in rows.items()}


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(tensors, path, *_):
    with open(path, "wb") as file:
        file.write(b"x" * 100)
    kill()


def half_deleted(output_dir, **_):
    oldest = min(Path(output_dir).glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    (oldest / "optimizer.pt").unlink()
    kill()


# Where the process is killed, by the step in whose saving it happens.
MOMENTS = {
    "before the best experts are noted": (2, best_experts, "write_atomically", kill),
    "within a file": (2, torch, "save", half_written),
    "before the experts are complete": (4, os, "replace", kill),
    "before the state is written": (6, transformers_trainer.TrainerState, "save_to_json", kill),
    "before the folder gets its name": (8, checkpoints.CompleteCheckpoints, "_complete", kill),
    "before older ones go": (10, checkpoints, "rotate_checkpoints", kill),
    "while older ones go": (12, checkpoints, "rotate_checkpoints", half_deleted),
}


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_where_the_unbroken_one_ends(
    whisper_dir, whisper, processor, recordings, tmp_path
):
    """Also within an epoch, with rows drawn by language, a learned beta, and the best experts of each language."""

    def start(folder, moment=None):
        model = load(whisper_dir)
        settings = {
            "num_train_epochs": 3,
            "save_total_limit": 1,
            "language_temperature": 3.0,
            "kd_beta_schedule": "learned",
            **EVERY_TWO_STEPS,
        }
        trainer = make_trainer(
            model, processor, recordings, tmp_path / folder, ("gl", "ca"), teacher=whisper, **settings
        )
        if moment is not None:
            step, owner, name, instead = MOMENTS[moment]
            evaluate = trainer.evaluate

            def from_now_on(*args, **kwargs):
                if trainer.state.global_step == step:
                    setattr(owner, name, instead)
                return evaluate(*args, **kwargs)

            trainer.evaluate = from_now_on  # the last thing before the best experts and the checkpoint are saved
        trainer.train(resume_from_checkpoint=RunFolder(tmp_path / folder, {}).last_checkpoint())
        entries = [entry for entry in trainer.state.log_history if "loss" in entry]
        return tiny.state_of(model), [{**entry, "epoch": 0} for entry in entries], trainer.best_experts.scores()

    for moment in MOMENTS:
        child = os.fork()
        if child == 0:
            try:
                start("killed", moment)
            finally:
                os._exit(3)  # it should not come to this
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, moment
    resumed, unbroken = start("killed"), start("unbroken")
    for name, tensor in unbroken[0].items():
        assert torch.equal(resumed[0][name], tensor), name
    assert resumed[2] == unbroken[2]
    assert len(unbroken[1]) == 15 and resumed[1][-1].keys() == unbroken[1][-1].keys()
    for one, two in zip(resumed[1], unbroken[1], strict=True):
        for name in ("ce_loss", "kd_loss", "kd_beta", "utterances_gl", "steps_ca", "expert_usage_gl"):
            assert one.get(name) == two.get(name), (name, two["step"])
    assert not (tmp_path / "killed" / checkpoints.UNFINISHED).exists()


@pytest.mark.slow
def test_a_full_disk_says_so_and_keeps_the_checkpoint_before(whisper_dir, processor, recordings, tmp_path):
    model = load(whisper_dir)
    trainer = make_trainer(
        model, processor, recordings, tmp_path, ("gl", "ca"), save_total_limit=1, num_train_epochs=2, **EVERY_TWO_STEPS
    )
    original, limits = trainer._save_checkpoint, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(*args):
        if trainer.state.global_step == 4:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # files cannot grow beyond
        original(*args)

    trainer._save_checkpoint = save
    try:
        with pytest.raises(
            OSError, match=r"checkpoint-4 could not be written .* Complete checkpoints: checkpoint-2\. "
        ):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.glob("*checkpoint*")) == ["checkpoint-2"]
    assert not (tmp_path / checkpoints.UNFINISHED).exists()
    again = make_trainer(model, processor, recordings, tmp_path, ("gl", "ca"), num_train_epochs=2, **EVERY_TWO_STEPS)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.state.global_step == 10


@pytest.mark.parametrize(
    "damaged", ["optimizer.pt", "expert.gl.safetensors", "rng_state.pth", "distilwhisper_state.json"]
)
def test_a_damaged_checkpoint_is_named_and_the_earlier_one_is_offered(
    whisper_dir, processor, recordings, tmp_path, damaged
):
    def trainer(**settings):
        model = load(whisper_dir, ["gl"])
        return make_trainer(model, processor, recordings, tmp_path, num_train_epochs=1, **EVERY_TWO_STEPS, **settings)

    trainer(max_steps=3, save_total_limit=3).train()
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "checkpoint-1")
    content = (tmp_path / "checkpoint-2" / damaged).read_bytes()
    (tmp_path / "checkpoint-2" / damaged).write_bytes(content[: len(content) // 2])
    message = r"checkpoint-2 cannot be resumed .* delete that folder: .* \(there: checkpoint-1\)"
    with pytest.raises(ValueError, match=message):
        trainer(max_steps=3).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert (tmp_path / "checkpoint-1").is_dir()


@pytest.fixture(scope="module")
def finished(whisper_dir, processor, recordings, tmp_path_factory):
    """A run of three steps with a checkpoint of each second one: of experts."""
    folder = tmp_path_factory.mktemp("finished")
    settings = {"max_steps": 3, "num_train_epochs": 1, **EVERY_TWO_STEPS}
    make_trainer(load(whisper_dir, ["gl"]), processor, recordings, folder, **settings).train()
    return folder


@pytest.fixture
def resume(whisper_dir, processor, recordings, finished, tmp_path):
    """Resumes from its copied checkpoint, after a function changed it."""
    checkpoint = tmp_path / "checkpoint-2"
    shutil.copytree(finished / "checkpoint-2", checkpoint)

    def start(change, **settings):
        change(checkpoint)
        settings = {"max_steps": 3, **EVERY_TWO_STEPS, **settings}
        trainer = make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, **settings)
        trainer.train(resume_from_checkpoint=str(checkpoint))
        return trainer

    return start


@pytest.mark.parametrize(
    "name",
    [
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "distilwhisper_state.json",
        "expert.gl.safetensors",
    ],
)
def test_a_checkpoint_that_lacks_a_file_is_not_resumed(resume, name):
    """Without its optimiser it went on as if whole, with another result."""
    with pytest.raises(ValueError, match=f"checkpoint-2 cannot be resumed .it lacks {name}.* delete that folder"):
        resume(lambda checkpoint: (checkpoint / name).unlink())


def test_a_checkpoint_of_more_processes_is_not_resumed_by_one(resume):
    def change(checkpoint):
        (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
        shutil.copy(checkpoint / "rng_state_0.pth", checkpoint / "rng_state_1.pth")

    with pytest.raises(ValueError, match="random states of 2 process.*, and this run has 1; start as many as before"):
        resume(change)


@pytest.mark.parametrize("step", [10**9, 3, 0, -1, 2.0, "2", None, True])
def test_a_step_that_cannot_be_true_is_not_resumed(resume, step):
    """A billion counted as finished."""

    def change(checkpoint):
        path = checkpoint / "trainer_state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"global_step": step}))

    with pytest.raises(ValueError, match=r"checkpoint-2 cannot be resumed .*global_step"):
        resume(change)


def test_a_step_beyond_the_end_of_the_training_is_not_taken_for_its_end(resume):
    with pytest.raises(ValueError, match="is of step 2, and this training ends at step 1. Train longer"):
        resume(lambda checkpoint: None, max_steps=1)


def test_a_state_of_the_optimiser_that_is_not_finite_is_not_resumed(resume):
    def change(checkpoint):
        state = torch.load(checkpoint / "optimizer.pt")
        state["state"][0]["exp_avg"].fill_(torch.nan)
        torch.save(state, checkpoint / "optimizer.pt")

    with pytest.raises(ValueError, match="checkpoint-2 cannot be resumed .*not finite, such as exp_avg"):
        resume(change)


def test_best_experts_whose_file_is_gone_are_found_again(resume, finished, tmp_path):
    """The run found out only at its end."""
    shutil.copytree(finished / "best", tmp_path / "best")
    (tmp_path / "best/expert.gl.safetensors").unlink()
    trainer = resume(lambda checkpoint: None, max_steps=4)
    assert trainer.best_experts.scores()["gl"]["step"] == 4
    assert (tmp_path / "best/expert.gl.safetensors").is_file()


def test_a_folder_that_is_no_checkpoint_says_what_is_expected(resume, tmp_path):
    with pytest.raises(ValueError, match="there is no such folder; expected one such as checkpoint-200"):
        resume(shutil.rmtree)


def test_a_full_disk_among_the_best_experts_says_so_too(whisper_dir, processor, recordings, tmp_path):
    trainer = make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, **EVERY_TWO_STEPS)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    trainer.best_experts.keep = full
    with pytest.raises(OSError, match="The best experts so far could not be written .* Complete checkpoints: none"):
        trainer.train()


def test_another_runs_best_experts_are_not_taken_for_this_ones(whisper_dir, processor, recordings, tmp_path):
    best = best_experts.BestExperts(tmp_path)
    model = load(whisper_dir)
    best.keep(model, {"gl": 0.5, "ca": 0.4}, 4, more_is_better=False)
    best.keep(model, {"ca": 0.3}, 8, more_is_better=False)
    best.resume({"gl": {"step": 4, "score": 0.5}, "ca": {"step": 4, "score": 0.4}}, 6)
    assert best.scores() == {"gl": {"step": 4, "score": 0.5}, "ca": {"step": 8, "score": 0.3}}
    best.resume({"gl": {"step": 2, "score": 0.6}}, 6)
    assert best.scores() == {"ca": {"step": 8, "score": 0.3}}


def test_a_run_that_is_gone_on_with_forgets_what_another_left_there(whisper_dir, processor, recordings, tmp_path):
    def trainer(steps):
        settings = {"max_steps": steps, **EVERY_TWO_STEPS}
        return make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, **settings)

    first = trainer(2)
    first.train()
    of_another_run = {"gl": {"step": 1, "score": -1.0}}
    (tmp_path / "best/best.json").write_text(json.dumps(of_another_run))
    second = trainer(4)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert second.best_experts.scores()["gl"]["step"] == 4


@pytest.mark.parametrize("before", [3600.0, None])
def test_the_time_of_a_training_is_that_of_all_its_starts(whisper_dir, processor, recordings, tmp_path, before):
    """That of the last start alone would make an interrupted training look fast. A checkpoint that says nothing of it,
    of an earlier version, leaves it unsaid."""

    def start(steps, **settings):
        settings |= {"load_best_model_at_end": False, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 1}
        return make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, max_steps=steps, **settings)

    first = start(1).train().metrics
    assert first["train_runtime"] <= first["train_runtime_of_all_starts"] < 600
    file = tmp_path / "checkpoint-1/distilwhisper_state.json"
    state = json.loads(file.read_text())
    assert 0 < state["seconds"] <= first["train_runtime_of_all_starts"]
    file.write_text(json.dumps(state | {"seconds": before} if before else {**state, "seconds": None}))
    metrics = start(2).train(resume_from_checkpoint=str(file.parent)).metrics
    if before is None:
        assert "train_runtime_of_all_starts" not in metrics
    else:
        assert 3600 + metrics["train_runtime"] <= metrics["train_runtime_of_all_starts"] < 4200


def test_a_checkpoint_holds_experts_and_optimiser_and_little_else(processor, recordings, tmp_path):
    """At a size where the weights are what counts, as they are in any published Whisper."""
    big = tiny.make_whisper(processor, d_model=128, encoder_ffn_dim=1024, decoder_ffn_dim=1024)
    big.save_pretrained(tmp_path / "big")
    processor.save_pretrained(tmp_path / "big")
    settings = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2}
    model = load(tmp_path / "big", ["gl"])
    make_trainer(model, processor, recordings, tmp_path / "run", load_best_model_at_end=False, **settings).train()
    trained = sum(tensor.numel() for name, tensor in model.named_parameters() if ".experts." in name)
    size = sum(path.stat().st_size for path in (tmp_path / "run/checkpoint-2").iterdir())
    tokenizer = sum(path.stat().st_size for path in (tmp_path / "big").glob("*token*"))
    assert trained * 4 * 3 < size - tokenizer < 1.05 * trained * 4 * 3
