"""Short trainings of the tiny Whisper on the small data folders."""

import torch
from datasets import concatenate_datasets
from helpers.accelerator import CHOSEN

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.runs.language_codes import OwnName
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer


def rows_of(recordings, languages, split="train"):
    names = [OwnName(language) if "-" in language else None for language in languages]
    return concatenate_datasets(
        [read_folder(recordings[language], split, name) for language, name in zip(languages, names, strict=True)]
    )


def make_trainer(model, processor, recordings, output_dir, languages=("gl",), teacher=None, **settings):
    settings = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "report_to": "none",
        "generation_max_length": 16,
        "use_cpu": CHOSEN == "cpu",
        "disable_tqdm": True,
        "seed": 0,
        **settings,
    }
    torch.manual_seed(0)
    return DistilWhisperTrainer(
        model,
        DistilWhisperTrainingArguments(output_dir=str(output_dir), **settings),
        teacher=teacher,
        train_dataset=rows_of(recordings, languages),
        eval_dataset=rows_of(recordings, languages, "validation"),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )


def load(folder, languages=("gl", "ca"), **settings):
    torch.manual_seed(0)
    return DistilWhisperForConditionalGeneration.from_whisper(folder, languages=list(languages), **settings)
