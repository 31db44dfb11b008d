"""A short training for `torchrun` or plain `python`. Arguments: Whisper, data, output folder, accumulation, and perhaps
the checkpoint to go on from."""

import sys

import tiny
import torch
from datasets import concatenate_datasets
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer

whisper, data, output, accumulation, *checkpoint = sys.argv[1:]
processor = WhisperProcessor.from_pretrained(whisper)
torch.set_num_threads(1)
torch.manual_seed(0)
model = DistilWhisperForConditionalGeneration.from_whisper(whisper, languages=["gl", "ca"], skip_gate_prob=0.0)
tiny.unsettle(model)
trainer = DistilWhisperTrainer(
    model,
    DistilWhisperTrainingArguments(
        output_dir=output,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=int(accumulation),
        num_train_epochs=2,
        learning_rate=0.03,
        optim="sgd",
        max_grad_norm=0.0,  # clipping would hide a wrong scale
        warmup_steps=1,
        kd_beta_schedule="learned",
        language_temperature=2.0,
        logging_steps=1,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=4,
        save_total_limit=None,
        load_best_model_at_end=False,
        report_to="none",
        generation_max_length=8,
        use_cpu=True,
        disable_tqdm=True,
    ),
    teacher=tiny.make_whisper(processor, seed=5),
    train_dataset=concatenate_datasets([read_folder(f"{data}/{language}", "train") for language in ("gl", "ca")]),
    eval_dataset=read_folder(f"{data}/gl", "validation"),
    data_collator=SpeechCollator(processor),
    processing_class=processor,
)
trainer.evaluate()  # before training, as run_distil.py does: it must not part the processes
trainer.train(resume_from_checkpoint=checkpoint[0] if checkpoint else None)
if trainer.is_world_process_zero():
    trainer.save_model(output)
    trainer.state.save_to_json(f"{output}/state.json")
