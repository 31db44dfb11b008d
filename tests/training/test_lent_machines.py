"""A machine as it comes has PyTorch and Transformers: the model, a training on rows in memory and the benchmark run."""

import subprocess
import sys

import pytest
from helpers.training import load, make_trainer

from modeling_distilwhisper.training.each_row_once import EachRowOnce

ABSENT = ["datasets", "jiwer", "matplotlib", "peft", "pyarrow", "sacrebleu", "soundfile", "soxr", "tabulate"]
WITHOUT = f"import sys\nABSENT = {ABSENT}\nsys.modules.update(dict.fromkeys(ABSENT))\n"  # None: not installed
TRAINING = """
import sys, torch
from transformers import WhisperProcessor
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer

torch.manual_seed(0)
whisper, output = sys.argv[1:]
model = DistilWhisperForConditionalGeneration.from_whisper(whisper, languages=["gl"])
processor = WhisperProcessor.from_pretrained(whisper)
rows = [{"audio": torch.randn(16000) / 10, "text": "boas noites", "language": "gl"} for _ in range(4)]
settings = {"max_steps": 2, "eval_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}
args = DistilWhisperTrainingArguments(output_dir=output, per_device_train_batch_size=2, disable_tqdm=True, **settings)
trainer = DistilWhisperTrainer(
    model, args, train_dataset=rows, data_collator=SpeechCollator(processor), processing_class=processor
)
trainer.train()
trainer.save_model(output)
again = DistilWhisperForConditionalGeneration.from_pretrained(output)
print(again.config.languages, [name for name in ABSENT if sys.modules[name]])
"""


def run(script, *arguments):
    command = [sys.executable, "-c", f"{WITHOUT}{script}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_rows_in_memory_train_without_the_libraries_that_read_files_and_score(whisper_dir, tmp_path):
    done = run(TRAINING, whisper_dir, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "['gl'] []"


def test_every_target_token_counts_whatever_transformers_counts(
    whisper_dir, processor, recordings, tmp_path, monkeypatch
):
    """Some releases leave out the first token of each row: the cross-entropy came out too large."""
    monkeypatch.setattr(EachRowOnce.__base__, "_get_num_items_in_batch", lambda self, batches, device: 1 / 0)
    trainer = make_trainer(
        load(whisper_dir, ["gl"]),
        processor,
        recordings,
        tmp_path,
        max_steps=1,
        eval_strategy="no",
        load_best_model_at_end=False,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    _, count = trainer.get_batch_samples(iter([batch, batch]), 2, trainer.args.device)
    assert int(count) == 2 * int((batch["labels"] != -100).sum())


@pytest.mark.slow
def test_the_benchmark_needs_no_library_that_reads_files():
    for mode in ("infer", "train"):
        done = run(f"import distilwhisper_cli\nsys.exit(distilwhisper_cli.main({['benchmark', mode, '--help']}))")
        assert done.returncode == 0, done.stderr[-3000:]
