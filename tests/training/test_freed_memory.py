"""A training on a CPU does not grow from batch to batch."""

import pytest
from helpers.training import load, make_trainer

from modeling_distilwhisper.training import freed_memory


@pytest.mark.parametrize(("batches", "expected"), [(1, [1, 2, 3]), (2, [0, 1, 1, 2, 2, 3])])
def test_every_batch_on_a_cpu_gives_its_freed_memory_back(
    whisper_dir, processor, recordings, tmp_path, monkeypatch, batches, expected
):
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": batches, "max_steps": 3}
    trainer, steps = make_trainer(load(whisper_dir), processor, recordings, tmp_path, **settings), []
    monkeypatch.setattr(freed_memory, "return_freed_memory", lambda: steps.append(trainer.state.global_step))
    trainer.train()
    assert steps == expected
