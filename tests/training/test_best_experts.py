"""A run ends with each language's experts as they were when it was scored best."""

import itertools

import pytest
import torch
from helpers import tiny
from helpers.training import load, make_trainer

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.training.best_experts import within_chance


def test_the_best_checkpoint_is_kept_by_validation_wer(whisper_dir, processor, recordings, tmp_path):
    model = load(whisper_dir, ["gl"])
    trainer = make_trainer(model, processor, recordings, tmp_path, num_train_epochs=3)
    trainer.train()
    scores = {entry["step"]: entry["eval_wer"] for entry in trainer.state.log_history if "eval_wer" in entry}
    assert len(scores) == 3 and trainer.state.best_metric == min(scores.values())
    best = DistilWhisperForConditionalGeneration.from_pretrained(trainer.state.best_model_checkpoint)
    for name, tensor in best.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("metric", ["wer", "loss"])
def test_each_language_ends_with_its_own_best_experts(whisper_dir, processor, recordings, tmp_path, metric):
    """Best at different steps: one checkpoint for both would be second best for one of them."""
    model = load(whisper_dir)
    settings = {"num_train_epochs": 3, "metric_for_best_model": metric}
    trainer = make_trainer(model, processor, recordings, tmp_path, ("gl", "ca"), **settings)
    wers = {"gl": iter([0.5, 0.4, 0.6]), "ca": iter([0.3, 0.7, 0.4])}
    states = []

    def evaluate(*args, **kwargs):
        states.append(tiny.state_of(model))
        scores = {f"eval_{metric}_{language}": next(values) for language, values in wers.items()}
        return scores | {f"eval_{metric}": sum(scores.values())}

    trainer.evaluate = evaluate
    trainer.train()
    best = {"gl": states[1], "ca": states[0]}
    assert trainer.best_experts.scores() == {"gl": {"step": 12, "score": 0.4}, "ca": {"step": 6, "score": 0.3}}
    for name, tensor in model.state_dict().items():
        for language, state in best.items():
            if f".experts.{language}." in name:
                assert torch.equal(tensor, state[name]), name
    make_trainer(
        model,
        processor,
        recordings,
        tmp_path,
        max_steps=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    ).train()
    assert trainer.best_experts.scores() == {}, "another run must not end with the experts of the one before"


def test_the_best_experts_are_loaded_though_their_step_has_no_checkpoint(whisper_dir, processor, recordings, tmp_path):
    model, wers, states = load(whisper_dir, ["gl"]), itertools.chain([0.2], itertools.repeat(0.5)), []
    settings = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 4, "max_steps": 6}
    trainer = make_trainer(model, processor, recordings, tmp_path, **settings)

    def evaluate(*args, **kwargs):
        states.append(tiny.state_of(model))
        wer = next(wers)
        return {"eval_wer": wer, "eval_wer_gl": wer}

    trainer.evaluate = evaluate
    trainer.train()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, states[0][name]), name


def test_a_run_that_was_begun_without_losses_of_languages_ends_without_them(
    whisper_dir, processor, recordings, tmp_path
):
    """The loss of all rows at one step says nothing of the loss of one language at another."""
    settings = {"num_train_epochs": 3, "metric_for_best_model": "loss"}
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, ("gl", "ca"), **settings)
    lines = iter([{"eval_loss": 1.9}] + 2 * [{"eval_loss": 1.85, "eval_loss_gl": 1.6, "eval_loss_ca": 2.1}])

    def evaluate(*args, **kwargs):
        trainer.log(scores := next(lines))
        return scores

    trainer.evaluate = evaluate
    trainer.train()
    middle = {"step": 2 * trainer.state.max_steps // 3, "score": 1.85}
    assert trainer.best_experts.scores() == {"gl": middle, "ca": middle}


def test_text_at_the_beginning_of_labels_is_no_language(whisper, processor, recordings, tmp_path):
    """A collator of one's own may leave out the prompt, and a Whisper for English has no tokens of languages."""
    settings = {"predict_with_generate": False, "metric_for_best_model": "loss"}
    trainer = make_trainer(whisper, processor, recordings, tmp_path, **settings)
    collate = trainer.data_collator

    def without_prompt(rows):
        batch = collate(rows)
        return batch | {"labels": batch["labels"][:, 3:].contiguous()}

    trainer.data_collator = without_prompt
    assert {name for name in trainer.evaluate() if name.startswith("eval_loss")} == {"eval_loss"}


def test_each_language_has_the_loss_of_its_rows_alone(whisper_dir, processor, recordings, tmp_path):
    """Whatever the batches are."""
    settings = {"per_device_eval_batch_size": 2, "predict_with_generate": False}
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, ("gl", "ca"), **settings)
    rows = trainer.eval_dataset
    both = trainer.evaluate()
    for language in ("gl", "ca"):
        alone = trainer.evaluate([row for row in rows if row["language"] == language])
        assert both[f"eval_loss_{language}"] == pytest.approx(alone["eval_loss"], rel=1e-5)
        assert alone["eval_loss"] == alone[f"eval_loss_{language}"]
    assert min(both["eval_loss_gl"], both["eval_loss_ca"]) < both["eval_loss"], "a mean of both"
    assert both["eval_loss"] < max(both["eval_loss_gl"], both["eval_loss_ca"])


def test_where_no_language_has_a_score_the_whole_decides(whisper_dir, processor, recordings, tmp_path):
    model, losses, states = load(whisper_dir), iter([3.0, 1.0, 2.0]), []
    trainer = make_trainer(
        model, processor, recordings, tmp_path, ("gl", "ca"), num_train_epochs=3, metric_for_best_model="loss"
    )

    def evaluate(*args, **kwargs):
        states.append(tiny.state_of(model))
        return {"eval_loss": next(losses)}

    trainer.evaluate = evaluate
    trainer.train()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, states[1][name]), name


def scored(step: int, wers: dict[str, float], words: int) -> dict[str, float]:
    scores = {f"eval_wer_{language}": wer for language, wer in wers.items()}
    return {"step": step, **scores, **{f"eval_words_{language}": words for language in wers}}


def test_a_best_step_that_few_words_chose_is_named_and_one_that_many_chose_is_not():
    """One word of 256 chose a step whose experts made more errors on other recordings than those of the last one."""
    history = [{"step": 5, "loss": 2.0}, scored(30, {"ru": 25 / 256, "gl": 20 / 256, "ca": 0.1}, 256)]
    history.append(scored(60, {"ru": 26 / 256, "gl": 90 / 256, "ca": 0.05}, 256))
    best = {"ru": {"step": 30, "score": 25 / 256}, "gl": {"step": 30, "score": 20 / 256}}
    best |= {"ca": {"step": 60, "score": 0.05}, "fr": {"step": 30, "score": 0.1}}
    (sentence,) = within_chance(history, best)
    assert sentence.startswith("ru keeps the experts of step 30, with 25 errors in validation (256 words); ")
    assert sentence.endswith("those of the last step, 60, have 26.")
    for words, wers in ((25600, (0.1, 0.11)), (0, (3.0, 4.0)), (256, (0.1, 0.1))):
        assert within_chance([scored(30, {"ru": wers[0]}, words), scored(60, {"ru": wers[1]}, words)], best) == []


@pytest.mark.parametrize(("metric", "said"), [("wer", True), ("loss", False)])
def test_a_run_says_that_few_words_chose_its_experts(
    whisper_dir, processor, recordings, tmp_path, caplog, metric, said
):
    settings = {"num_train_epochs": 2, "metric_for_best_model": metric}
    trainer = make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, **settings)
    wers = iter([0.25, 0.5])

    def evaluate(*args, **kwargs):
        scores = {"eval_loss": (wer := next(wers)), "eval_wer": wer, "eval_wer_gl": wer, "eval_words_gl": 8}
        trainer.log(scores)
        return scores

    trainer.evaluate = evaluate
    trainer.train()
    last = trainer.state.max_steps
    sentence = f"gl keeps the experts of step {last // 2}, with 2 errors in validation (8 words); "
    assert (f"{sentence}those of the last step, {last}, have 4." in caplog.text) == said, caplog.text
    assert ("--load_best_model_at_end false" in caplog.text) == said
