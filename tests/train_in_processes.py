"""A short training for `torchrun` or plain `python`. Arguments: Whisper, data, output folder, batch, accumulation."""

import sys

import torch
from datasets import concatenate_datasets
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.collate import SpeechCollator
from modeling_distilwhisper.data import read_folder
from modeling_distilwhisper.trainer import DistilWhisperTrainer
from modeling_distilwhisper.training_args import DistilWhisperTrainingArguments

whisper, data, output, batch, accumulation = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(0)
model = DistilWhisperForConditionalGeneration.from_whisper(whisper, languages=["gl", "ca"], skip_gate_prob=0.0)
trainer = DistilWhisperTrainer(
    model,
    DistilWhisperTrainingArguments(
        output_dir=output,
        per_device_train_batch_size=int(batch),
        gradient_accumulation_steps=int(accumulation),
        num_train_epochs=2,
        learning_rate=1e-3,
        optim="sgd",
        kd_beta_schedule="learned",
        language_temperature=2.0,
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    ),
    teacher=WhisperForConditionalGeneration.from_pretrained(whisper),
    train_dataset=concatenate_datasets([read_folder(f"{data}/{language}", "train") for language in ("gl", "ca")]),
    data_collator=SpeechCollator(WhisperProcessor.from_pretrained(whisper)),
    processing_class=WhisperProcessor.from_pretrained(whisper),
)
trainer.train()
if trainer.is_world_process_zero():
    trainer.save_model(output)
    trainer.state.save_to_json(f"{output}/state.json")
