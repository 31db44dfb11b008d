"""Augmented training recordings: what is drawn depends on seed, epoch and recording, and on nothing else."""

import pickle
import random

import numpy as np
import pytest
import torch
from helpers.training import load, make_trainer
from transformers import TrainerCallback

from modeling_distilwhisper.data.augmentation import KINDS, Augmentation
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.teacher import Teacher

audiomentations = pytest.importorskip("audiomentations")


@pytest.fixture(scope="module")
def clip():
    time = np.arange(24000) / 16000
    return (0.3 * np.sin(2 * np.pi * 220 * time) * (time < 1.2)).astype(np.float32)


def drawn(change, clip, epochs=8):
    copies = []
    for epoch in range(epochs):
        change.start_epoch(epoch)
        copies.append(change(clip))
    return copies


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_some_recordings_and_leaves_others(kind, clip):
    copies = drawn(Augmentation([kind], seed=0), clip, epochs=12)
    same = [len(copy) == len(clip) and np.array_equal(copy, clip) for copy in copies]
    assert any(same)
    assert not all(same)
    for copy in copies:
        assert copy.dtype == np.float32
        assert np.isfinite(copy).all()
        assert np.abs(copy).max() <= 1
        assert 0.85 * len(clip) < len(copy) < 1.15 * len(clip)


def test_a_recording_is_changed_anew_in_each_epoch_and_the_same_way_when_that_epoch_comes_again(clip):
    first, again = (drawn(Augmentation(KINDS, seed=3), clip) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({copy.tobytes() for copy in first}) > 4
    other_seed = drawn(Augmentation(KINDS, seed=4), clip)
    assert any(one.tobytes() != other.tobytes() for one, other in zip(first, other_seed, strict=True))


def test_two_recordings_are_not_changed_alike(clip):
    change = Augmentation(["noise"], seed=0)
    added = []
    for loudness in np.linspace(0.5, 1, 12, dtype=np.float32):
        one = clip * loudness
        added.append((change(one) - one).tobytes())
    assert len(set(added)) > 4


def test_what_others_draw_at_random_is_not_moved(clip):
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    drawn(Augmentation(KINDS, seed=0), clip)
    assert (random.random(), np.random.rand()) == expected


def test_the_recording_itself_stays_as_it_is(clip):
    before = clip.copy()
    drawn(Augmentation(KINDS, seed=0), clip)
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("length", [0, 1, 100, 1599, 1600, 16000])
def test_silent_and_very_short_recordings_stay_finite(length):
    for copy in drawn(Augmentation(KINDS, seed=0), np.zeros(length, np.float32)):
        assert np.isfinite(copy).all()
        assert bool(len(copy)) == bool(length)


def test_a_copy_in_another_process_reads_the_epoch_that_began_here(clip):
    change = Augmentation(KINDS, seed=0)
    change.start_epoch(5)
    copy = pickle.loads(pickle.dumps(Augmentation(KINDS, seed=0)))
    copy.start_epoch(5)
    assert np.array_equal(change(clip), copy(clip))


def test_an_unknown_kind_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="--augment: expected some of tempo, noise, codec, gaps, got 'echo'"):
        DistilWhisperTrainingArguments(str(tmp_path), augment=["noise", "echo"])
    assert DistilWhisperTrainingArguments(str(tmp_path), augment="noise").augment == ["noise"], "not its letters"
    assert DistilWhisperTrainingArguments(str(tmp_path), augment=None).augment == []


def batches(trainer, epoch):
    loader = trainer.get_train_dataloader()
    trainer.augmentation.start_epoch(epoch)
    return [batch["input_features"] for batch in loader]


def test_workers_and_the_main_process_make_the_same_batches_in_every_epoch(
    whisper_dir, processor, recordings, tmp_path
):
    made = []
    for workers in (0, 1):
        settings = {"augment": list(KINDS), "dataloader_num_workers": workers}
        trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path / str(workers), **settings)
        trainer.train_dataset = trainer.train_dataset.select(range(4))
        order = []
        for epoch in (0, 1):
            torch.manual_seed(epoch)
            order.append(sorted(row.sum().item() for batch in batches(trainer, epoch) for row in batch))
        assert order[0] != order[1]
        made.append(order)
    assert made[0] == made[1]


def test_what_is_added_to_a_batch_such_as_a_teachers_cache_sees_the_recording_as_it_is(processor, clip):
    seen, louder = [], lambda samples: samples * 2
    extra = lambda rows, samples, labels: seen.extend(samples) or {}  # noqa: E731
    row = {"audio": clip, "text": "la ri", "language": "gl"}
    plain = SpeechCollator(processor)([row])["input_features"]
    changed = SpeechCollator(processor, extra=extra, augment=louder)([row])["input_features"]
    assert np.array_equal(seen[0], clip), "the cache knows a recording by a digest of its samples"
    assert not torch.equal(changed, plain)


def test_a_training_changes_its_recordings_in_another_way_in_each_epoch(whisper_dir, processor, recordings, tmp_path):
    settings = {"augment": ["noise"], "num_train_epochs": 3, "eval_strategy": "no", "save_strategy": "no"}
    settings |= {"load_best_model_at_end": False}
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, **settings)
    epochs, change = [], trainer.augmentation.change
    trainer.augmentation.change = lambda *clip, **rate: (
        epochs.append(int(trainer.augmentation.epoch)) or change(*clip, **rate)
    )
    trainer.train()
    assert sorted(epochs) == sorted([0, 1, 2] * len(trainer.train_dataset))


def test_validation_recordings_are_never_changed(whisper_dir, processor, recordings, tmp_path):
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, augment=list(KINDS))
    trainer.get_train_dataloader()
    assert trainer.data_collator.augment is None
    (batch, *_) = trainer.get_eval_dataloader()
    rows = [trainer.eval_dataset[index] for index in range(len(batch["labels"]))]
    expected = SpeechCollator(processor)(rows)
    assert torch.equal(batch["input_features"], expected["input_features"])


def test_a_teacher_gets_the_recording_as_it_is(whisper_dir, whisper, processor, recordings, tmp_path):
    settings = {"teacher": Teacher(whisper), "augment": ["noise"]}
    trainer = make_trainer(load(whisper_dir), processor, recordings, tmp_path, **settings)
    (row,) = trainer.train_dataset.select([0])
    plain = SpeechCollator(processor)([row])["input_features"]
    trainer.train_dataset = trainer.train_dataset.select([0])
    changed = 0
    for epoch in range(6):
        trainer.augmentation.start_epoch(epoch)
        (batch,) = trainer.get_train_dataloader()
        changed += not torch.equal(batch["input_features"], plain)
        assert torch.equal(batch["teacher_input_features"], plain)
    assert 0 < changed < 6


class Stop(TrainerCallback):
    """Ends a training after a number of steps, which its schedule does not know."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_a_resumed_training_with_augmentation_ends_where_the_unbroken_one_ends(
    whisper_dir, whisper, processor, recordings, tmp_path
):
    def start(folder, **settings):
        settings = {
            "augment": list(KINDS),
            "save_strategy": "steps",
            "save_steps": 1,
            "eval_strategy": "no",
            **settings,
        }
        settings |= {"load_best_model_at_end": False, "per_device_train_batch_size": 2, "save_total_limit": None}
        model = load(whisper_dir)
        return make_trainer(model, processor, recordings, tmp_path / folder, teacher=Teacher(whisper), **settings)

    unbroken = start("unbroken")
    unbroken.train()
    broken = start("broken")
    steps = unbroken.state.max_steps
    broken.add_callback(Stop(steps // 2 + 1))
    broken.train()
    resumed = start("broken")
    resumed.train(resume_from_checkpoint=True)
    expected = unbroken.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    without = start("without", augment=[])
    without.train()
    assert any(not torch.equal(value, expected[name]) for name, value in without.model.state_dict().items())
