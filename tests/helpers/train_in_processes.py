"""A short training for `torchrun` or plain `python`, and scores of the trained model. Arguments: Whisper, data, output
folder, accumulation, and perhaps the checkpoint to go on from.

Each process writes what it knows to `figures.<process>.json`. No number of rows is a multiple of the batches.
"""

import json
import sys
from pathlib import Path

import tiny
import torch
from datasets import concatenate_datasets
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.scoring import score
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer

whisper, data, output, accumulation, *checkpoint = sys.argv[1:]
processor = WhisperProcessor.from_pretrained(whisper)
torch.set_num_threads(1)


def rows_of(split):
    return concatenate_datasets([read_folder(f"{data}/{language}", split) for language in ("gl", "ca")])


def make_trainer(folder, **settings):
    settings = {
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 2,
        "gradient_accumulation_steps": int(accumulation),
        "num_train_epochs": 2,
        "learning_rate": 0.03,
        "optim": "sgd",
        "max_grad_norm": 0.0,  # clipping would hide a wrong scale
        "warmup_steps": 1,
        "kd_beta_schedule": "learned",
        "language_temperature": 2.0,
        "logging_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": 4,
        "save_total_limit": None,
        "load_best_model_at_end": False,
        "report_to": "none",
        "generation_max_length": 8,
        "use_cpu": True,
        **settings,
    }
    arguments = DistilWhisperTrainingArguments(output_dir=folder, **settings)
    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper, languages=["gl", "ca"], skip_gate_prob=0.0)
    tiny.unsettle(model)
    return DistilWhisperTrainer(
        model,
        arguments,
        teacher=tiny.make_whisper(processor, seed=5),
        train_dataset=rows_of("train"),
        eval_dataset=rows_of("validation").select(range(7)),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )


trainer = make_trainer(output)
trainer.evaluate()  # before training, as run_distil.py does: it must not part the processes
trained = trainer.train(resume_from_checkpoint=checkpoint[0] if checkpoint else None)
if trainer.is_world_process_zero():
    trainer.save_model(output)
    trainer.state.save_to_json(f"{output}/state.json")
if not checkpoint:
    rows = rows_of("test")
    figures = {
        "eval": trainer.evaluate(),
        "scores": score(trainer, {"test": {str(size): rows.select(range(8 - size, 8)) for size in (1, 3, 5, 8)}}),
        "usage": {size: trainer.measure_expert_usage(rows.select(range(8 - size, 8))) for size in (1, 3, 7)},
        "trained": trained.metrics,
    }
    # With the validation split between the epochs, lines of the log that leave steps over, and larger batches.
    other = make_trainer(
        f"{output}/other",
        per_device_train_batch_size=2,
        language_temperature=1.0,
        logging_steps=3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        num_train_epochs=2,
        learning_rate=0.3,
        gate_momentum=0.7,
    )
    trained = other.train()
    figures["other"] = {
        "trained": trained.metrics,
        "log": other.state.log_history,
        "best": other.best_experts.scores(),
        "best_metric": other.state.best_metric,
        "best_step": other.state.best_global_step,
        "steps": other.figures.steps,
        "utterances": other.figures.utterances,
    }
    Path(output, f"figures.{trainer.args.process_index}.json").write_text(json.dumps(figures))
