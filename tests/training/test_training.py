"""Training moves the experts of the languages at hand and nothing else, follows the budget, and can be resumed."""

import itertools
import json

import pytest
import torch
from helpers import tiny
from helpers.training import load, make_trainer, rows_of
from transformers import EvalPrediction

from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.labels import label_ids
from modeling_distilwhisper.evaluation.gates import GateReport, measure_expert_usage
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.gate_budget import gate_budget_loss
from modeling_distilwhisper.training.losses import cross_entropy, kl_divergence
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer


@pytest.mark.parametrize("settings", [{}, {"gate_training": "soft"}, {"expert_rank": 4}])
def test_only_the_experts_of_the_languages_at_hand_move(
    whisper_dir, whisper, processor, recordings, tmp_path, settings
):
    model = load(whisper_dir, **settings)
    before = tiny.state_of(model)
    trainer = make_trainer(model, processor, recordings, tmp_path, teacher=whisper)
    trainer.train()
    plain = whisper.state_dict()
    for name, tensor in model.state_dict().items():
        if ".experts.gl." in name:
            stays = name.endswith(".up.bias") or (name.endswith("threshold") and "gate_training" in settings)
            assert torch.equal(tensor, before[name]) == stays, name
        else:
            assert torch.equal(tensor, before[name]), name
            assert ".experts.ca." in name or torch.equal(tensor, plain[name]), name


def test_a_batch_without_a_language_leaves_its_experts_as_they_were(whisper_dir, processor, recordings, tmp_path):
    """Momentum and weight decay would move them, were their gradients zero instead of absent."""
    model = load(whisper_dir)
    trainer = make_trainer(
        model, processor, recordings, tmp_path, ("gl", "ca"), per_device_train_batch_size=1, weight_decay=0.1
    )
    states = []
    original = trainer.training_step

    def watch(model_, inputs, num_items):
        states.append((inputs["labels"][0, 0].item(), tiny.state_of(model)))
        return original(model_, inputs, num_items)

    trainer.training_step = watch
    trainer.train()
    languages = {token: language for token, language in model.config.experts_by_token.items()}
    changes = {"gl": 0, "ca": 0}
    for (token, before), (_, after) in itertools.pairwise(states):
        for name in before:
            changed = not torch.equal(before[name], after[name])
            if f".experts.{languages[token]}." in name:
                changes[languages[token]] += changed
            else:
                assert not changed, name
    assert min(changes.values()) > 0


def test_training_lowers_the_loss_and_keeps_the_gates_on_budget(whisper_dir, whisper, processor, recordings, tmp_path):
    model = load(whisper_dir, ["gl"], gate_budget=0.4)
    trainer = make_trainer(
        model,
        processor,
        recordings,
        tmp_path,
        teacher=whisper,
        num_train_epochs=20,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for entry in logs:
        parts = entry["ce_loss"] + entry["gate_loss"] + trainer.args.kd_beta * entry["kd_loss"]
        assert entry["loss"] == pytest.approx(parts, rel=1e-4)
        assert {"encoder_expert_usage", "decoder_expert_usage"} <= entry.keys()
    first, last = ([entry["ce_loss"] for entry in part] for part in (logs[:5], logs[-5:]))
    assert sum(last) < 0.8 * sum(first)
    batches = (dict(batch) for batch in trainer.get_eval_dataloader(rows_of(recordings, ["gl"], "test")))
    assert measure_expert_usage(model, batches)["all"] == pytest.approx(0.4, abs=0.15)


def test_accumulated_steps_equal_one_large_step(whisper_dir, whisper, processor, recordings, tmp_path):
    """Rows differ in length, so a mean of means would be another gradient. The budget is a term of each part."""
    results = []
    for size, steps in ((12, 1), (4, 3), (1, 12)):
        model = load(whisper_dir, ["gl"], skip_gate_prob=0.0, gate_training="soft", gate_noise_max=0.0, gate_budget=0.0)
        tiny.unsettle(model)
        start = model.model.encoder.layers[0].experts["gl"].fc1.bias.detach().clone()
        trainer = make_trainer(
            model,
            processor,
            recordings,
            tmp_path / str(size),
            teacher=whisper,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=2,
            warmup_steps=1,
            optim="sgd",
            learning_rate=1e-3,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        )
        trainer.train()
        entry = trainer.state.log_history[0]
        results.append((entry["ce_loss"], entry["kd_loss"], entry["grad_norm"], tiny.state_of(model)))
    *numbers, weights = results[0]
    assert not torch.equal(weights["model.encoder.layers.0.experts.gl.fc1.bias"], start)
    for *other_numbers, other_weights in results[1:]:
        assert other_numbers == pytest.approx(numbers, rel=1e-4)
        for name, tensor in weights.items():
            torch.testing.assert_close(other_weights[name], tensor, atol=1e-6, rtol=1e-4, msg=name)


def test_a_resumed_run_ends_where_the_unbroken_one_ends(whisper_dir, whisper, processor, recordings, tmp_path):
    def run(folder, **settings):
        model = load(whisper_dir)
        trainer = make_trainer(
            model,
            processor,
            recordings,
            tmp_path / folder,
            ("gl", "ca"),
            teacher=whisper,
            num_train_epochs=3,
            save_total_limit=5,
            load_best_model_at_end=False,
        )
        trainer.train(**settings)
        return tiny.state_of(model)

    unbroken = run("run")
    checkpoint = tmp_path / "run/checkpoint-6"
    names = {path.name for path in checkpoint.iterdir()}
    assert "model.safetensors" not in names and {"expert.gl.safetensors", "optimizer.pt"} <= names
    resumed = run("run", resume_from_checkpoint=str(checkpoint))
    for name, tensor in unbroken.items():
        assert torch.equal(resumed[name], tensor), name


def test_rows_are_scored_in_their_own_language(model, processor, recordings, tmp_path):
    """The experts differ: if the language were lost, both would have the same transcripts."""
    trainer = make_trainer(model, processor, recordings, tmp_path, ("gl", "ca"))
    rows = rows_of(recordings, ("gl", "ca"), "test")
    together = trainer.predict(rows)
    assert {"test_wer", "test_wer_gl", "test_wer_ca", "test_cer_gl"} <= together.metrics.keys()
    batch = SpeechCollator(processor)(list(rows))
    for language, language_rows in (("gl", slice(0, 4)), ("ca", slice(4, 8))):
        expected = model.generate(
            batch["input_features"][language_rows], language=language, task="transcribe", max_length=16
        )
        predicted = torch.tensor(together.predictions[language_rows])[:, : expected.shape[1]]
        assert torch.equal(predicted, expected)


def test_full_fine_tuning_runs_through_the_same_trainer(whisper, processor, recordings, tmp_path):
    before = tiny.state_of(whisper)
    make_trainer(whisper, processor, recordings, tmp_path, num_train_epochs=1).train()
    assert not torch.equal(before["model.encoder.layers.0.fc1.weight"], whisper.model.encoder.layers[0].fc1.weight)


@pytest.mark.parametrize("kind", ["whisper", "model"])
def test_a_trained_model_keeps_its_end_token_so_that_it_can_write_timestamps(
    kind, processor, recordings, tmp_path, request
):
    """With a list of end tokens, Whisper's `generate` fails at the first timestamp: long recordings have them."""
    student = request.getfixturevalue(kind)
    end = student.generation_config.eos_token_id
    assert isinstance(end, int)
    trainer = make_trainer(student, processor, recordings, tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    saved = json.loads((tmp_path / "saved/generation_config.json").read_text(encoding="utf-8"))
    assert student.generation_config.eos_token_id == saved["eos_token_id"] == end


def test_labels_without_a_loaded_language_are_refused_in_any_data_set(whisper_dir, processor, recordings, tmp_path):
    """A data set of the user without a column of languages."""

    class Rows(torch.utils.data.Dataset):
        rows = list(rows_of(recordings, ["ca"]))

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            return self.rows[index]

    trainer = make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path)
    trainer.train_dataset = Rows()
    with pytest.raises(ValueError, match="has no expert"):
        trainer.train()


def test_generation_settings_reach_generation(model, processor, recordings, tmp_path):
    trainer = make_trainer(model, processor, recordings, tmp_path)
    assert trainer.predict(rows_of(recordings, ["gl"], "test"), max_length=6).predictions.shape[1] <= 6


def test_noise_rises_over_the_run_in_soft_training(whisper_dir, processor, recordings, tmp_path):
    model, seen = load(whisper_dir, ["gl"], gate_training="soft", gate_noise_max=4.0), []
    model.model.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["gate_noise"]), with_kwargs=True
    )
    trainer = make_trainer(
        model,
        processor,
        recordings,
        tmp_path,
        num_train_epochs=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        max_steps=4,
    )
    trainer.train()
    assert seen == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"num_train_epochs": 4}, 3),  # 12 rows by 4
        ({"max_steps": 30}, 3),
        ({"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}, 6),
    ],
)
def test_warm_up_lasts_an_epoch(whisper_dir, processor, recordings, tmp_path, settings, steps):
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, **settings)
    trainer.create_optimizer_and_scheduler(12)
    assert trainer.args.warmup_steps == steps


def test_the_loss_is_made_of_its_parts_as_the_arguments_say(model, processor, recordings, tmp_path):
    """By hand, for one batch: smoothing, divergence, temperature and beta all reach the loss."""
    teacher = tiny.make_whisper(processor, seed=5).train()
    arguments = {"label_smoothing_factor": 0.2, "kd_divergence": "kl", "kd_temperature": 2.0, "kd_beta": 0.7}
    trainer = make_trainer(model, processor, recordings, tmp_path, teacher=teacher, **arguments)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    trainer.current_gradient_accumulation_steps = 1
    batch = SpeechCollator(processor)(list(rows_of(recordings, ["gl"], "test")))
    labels = batch["labels"]
    model.eval()
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
        ours, theirs = model(**batch, output_gates=True), teacher(**batch)
    report = GateReport.of(ours, batch["attention_mask"], labels)
    expected = (
        cross_entropy(ours.logits, labels, label_smoothing=0.2)
        + gate_budget_loss(*report.layers(), 0.5)
        + 0.7 * kl_divergence(ours.logits, theirs.logits, labels, temperature=2.0)
    )
    torch.testing.assert_close(loss, expected)


def test_the_trainer_freezes_the_backbone_whatever_the_data_set_says(whisper_dir, processor, recordings, tmp_path):
    model = load(whisper_dir, ["gl"]).requires_grad_(True)
    rows = rows_of(recordings, ["gl"])
    make_trainer(model, processor, recordings, tmp_path)
    assert not model.model.encoder.conv1.weight.requires_grad
    model.requires_grad_(True)
    arguments = DistilWhisperTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    DistilWhisperTrainer(model, arguments, train_dataset=list(rows), eval_dataset=rows, processing_class=processor)
    assert not model.model.encoder.conv1.weight.requires_grad
    assert model.model.encoder.layers[0].experts["gl"].fc1.weight.requires_grad


def test_processes_may_lack_a_language(tmp_path):
    assert DistilWhisperTrainingArguments(output_dir=str(tmp_path)).ddp_find_unused_parameters is True


def test_epochs_drawn_by_language_differ_from_each_other(whisper_dir, processor, recordings, tmp_path):
    """If the sampler did not get the epoch, training would use only a part of the rows of large languages."""
    model, drawn = load(whisper_dir), []
    settings = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = make_trainer(
        model, processor, recordings, tmp_path, ("gl", "ca"), language_temperature=2.0, num_train_epochs=2, **settings
    )
    original = trainer.training_step

    def watch(model, inputs, *args):
        drawn.extend(inputs["input_features"].sum(dim=(1, 2)).tolist())
        return original(model, inputs, *args)

    trainer.training_step = watch
    trainer.train()
    assert len(drawn) == 48 and drawn[:24] != drawn[24:] and sorted(drawn[:24]) == sorted(drawn[24:])


def test_a_language_without_an_expert_is_refused_before_training(whisper_dir, processor, recordings, tmp_path):
    with pytest.raises(ValueError, match=r"has rows in \['ca'\], and the model has experts for \['gl'\]"):
        make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, ("gl", "ca"))


def test_a_teacher_of_another_vocabulary_is_refused(whisper_dir, processor, recordings, tmp_path):
    teacher = tiny.make_whisper(processor)
    teacher.config.vocab_size += 1
    with pytest.raises(ValueError, match="The teacher has vocab_size .* the student's vocabulary and features"):
        make_trainer(load(whisper_dir), processor, recordings, tmp_path, teacher=teacher)


def test_each_row_is_scored_by_the_rules_of_its_own_language(model, processor, recordings, tmp_path, monkeypatch):
    """Or the checkpoint of an unspaced language would be chosen by an error rate that means nothing."""
    monkeypatch.setattr("modeling_distilwhisper.evaluation.normalization.UNSPACED", ("gl",))
    trainer = make_trainer(model, processor, recordings, tmp_path, normalizer="report")
    references, hypotheses = (
        torch.tensor([label_ids(processor.tokenizer, text, language) for language in ("gl", "ca")])
        for text in ("ก ขค", "กข ค")
    )
    scores = trainer._score(EvalPrediction(predictions=hypotheses.numpy(), label_ids=references.numpy()))
    assert scores["wer_gl"] == 0 and scores["wer_ca"] == 1 and scores["wer"] == 2 / 5
