"""What a training step costs: plain fine-tuning, LoRA and experts side by side.

A step is what the trainer does with a batch that is ready: loss, gradients, optimiser. To make the batch is the work of
a data loader's processes meanwhile. The teacher has the student's size.
"""

import argparse
import importlib.util
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ...data.collate import SpeechCollator
from ...data.labels import IGNORED
from ...data.mono import SAMPLING_RATE
from ...modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ...runs.extras import require
from ...training.arguments import DistilWhisperTrainingArguments
from ...training.lora import with_lora
from ...training.teacher import Teacher
from ...training.trainer import DistilWhisperTrainer
from .tables import print_table
from .turns import take_turns
from .whispers import LANGUAGES, make_processor, make_whisper

LANGUAGE = LANGUAGES[0]
BASELINE, CLSR, LORA = "fc1 and fc2 only", "CLSR, full experts", "LoRA, r = 32"
# Settings of the experts, or the weights that are trained instead; and the teacher.
SYSTEMS = {
    "full fine-tuning": ("all", None),
    BASELINE: ("fc1 and fc2", None),
    LORA: ("LoRA", None),
    CLSR: ({}, None),
    "CLSR, r = 64": ({"expert_rank": 64}, None),
    "CLSR, r = 128": ({"expert_rank": 128}, None),
    "DistilWhisper, teacher live": ({}, "live"),
    "DistilWhisper, cache of k = 64": ({}, "likeliest tokens"),
    "DistilWhisper, cache of states": ({}, "hidden states"),
}
STEP = "step"
CACHES = {"likeliest tokens": 64, "hidden states": None}
CACHED = [name for name, (_, teacher) in SYSTEMS.items() if teacher in CACHES]
# The libraries that a system needs, of those that a machine with PyTorch and Transformers may lack.
NEEDED: dict[str, tuple[str, ...]] = {LORA: ("peft",)} | dict.fromkeys(CACHED, ("datasets", "soundfile"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [name for name in SYSTEMS if name not in (BASELINE, CLSR)]
    found = [name for name in names if all(map(importlib.util.find_spec, NEEDED.get(name, ())))]
    parser.add_argument(
        "--beside",
        nargs="*",
        choices=names,
        default=found,
        metavar="SYSTEM",
        help=f"systems to time with {BASELINE!r} and {CLSR!r}; by default all whose libraries are here: {names}",
    )
    parser.add_argument("--batch_size", type=int, default=4, help="rows in a batch")
    parser.add_argument("--tokens", type=int, default=40, help="label tokens of each row")


def run(arguments: argparse.Namespace) -> None:
    for name in arguments.beside:
        require(*NEEDED.get(name, ()))
    systems = [name for name in SYSTEMS if name in (BASELINE, CLSR, *arguments.beside)]
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = Path(folder)
        arguments.in_files = any(name in CACHED for name in arguments.beside)
        write_batch(arguments)
        results = take_turns(TrainingStep, systems, arguments)
    seconds = {name: result["seconds"][STEP] for name, result in results.items()}
    base, clsr = (statistics.median(seconds[name]) for name in (BASELINE, CLSR))
    table = [
        {
            "": name,
            "median s": statistics.median(seconds[name]),
            "fastest s": min(seconds[name]),
            f"/ {BASELINE}": statistics.median(seconds[name]) / base,
            f"/ {CLSR}": statistics.median(seconds[name]) / clsr,
            "making a batch s": result["batch"],
            "peak memory GB": result["memory"] / 1e9,
            "checkpoint MB": result["checkpoint"] / 1e6,
            "/ its tensors": result["checkpoint"] / result["tensors"],
        }
        for name, result in results.items()
    ]
    print(f"whisper-{arguments.size}, random weights, batch {arguments.batch_size}, {arguments.tokens} label tokens,")
    print(f"{arguments.rounds} steps, ", end="")
    print(f"float32, {arguments.device}, {torch.get_num_threads()} threads\n")
    print_table(table, floatfmt=".2f")
    if left_out := [name for name in SYSTEMS if name not in systems]:
        libraries = " or ".join(dict.fromkeys(itertools.chain(*NEEDED.values())))
        print(f"\nLeft out: {', '.join(left_out)}. --beside adds them; some need {libraries}.")


def write_batch(arguments: argparse.Namespace) -> None:
    """Writes the student, the recordings of one batch (noise of 30 s), and the teacher's predictions for them."""
    folder = arguments.folder
    make_whisper(arguments.size, seed=0).save_pretrained(folder / "student")
    if not arguments.in_files:
        return
    import soundfile

    from ...training.cache_files import tokenizer_digest
    from ...training.cache_writer import CacheWriter, WithDigests

    processor = make_processor()
    for number in range(arguments.batch_size):
        soundfile.write(folder / f"{number}.wav", noise(number), SAMPLING_RATE)
    rows = list(read_rows(arguments))
    teacher = Teacher(make_whisper(arguments.size, seed=1))
    batch = SpeechCollator(processor, extra=WithDigests(None))(rows)
    config = teacher.model.config
    decoder_input_ids = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
    metadata = {"tokenizer": tokenizer_digest(processor), "vocabulary": config.vocab_size}
    for kind, k in CACHES.items():
        writer = CacheWriter(folder / kind, teacher, k=k, temperatures=[1.0], metadata=metadata, data=["noise"])
        writer.write(writer.lines(rows, batch, decoder_input_ids))


def noise(number: int) -> np.ndarray:
    """30 s of noise."""
    samples = 0.1 * np.random.default_rng(number).standard_normal(30 * SAMPLING_RATE)
    return samples.astype(np.float32)


def read_rows(arguments: argparse.Namespace):
    """The rows of the batch: in memory, or with their audio in files where a teacher's cache has to find them."""
    text = "a" * (arguments.tokens - 5)  # the others: the space before it, language, task, no timestamps, end
    columns = {"text": text, "language": LANGUAGE, "data_set": "noise", "split": "train"}
    numbers = range(arguments.batch_size)
    if not arguments.in_files:
        return [{"audio": noise(number), "id": str(number), **columns} for number in numbers]
    from ...data.rows import make_rows

    return make_rows({"audio": arguments.folder / f"{number}.wav", "id": str(number), **columns} for number in numbers)


def make_trainer(name: str, arguments: argparse.Namespace) -> DistilWhisperTrainer:
    trained, kind = SYSTEMS[name]
    folder = arguments.folder
    student, processor = folder / "student", make_processor()
    if isinstance(trained, dict):
        model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=[LANGUAGE], **trained)
    else:
        model = WhisperForConditionalGeneration.from_pretrained(student)
    if trained == "LoRA":
        model = with_lora(model, rank=32)
    elif trained == "fc1 and fc2":
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(".fc1." in parameter_name or ".fc2." in parameter_name)
    teacher: Any = None
    if kind == "live":
        teacher = Teacher(make_whisper(arguments.size, seed=1))
    elif kind is not None:
        from ...training.teacher_cache import TeacherCache

        teacher = TeacherCache(folder / kind)
    training_args = DistilWhisperTrainingArguments(
        output_dir=str(folder / name),
        per_device_train_batch_size=arguments.batch_size,
        max_steps=1000,
        warmup_steps=1,
        eval_strategy="no",
        load_best_model_at_end=False,
        report_to="none",
        use_cpu=arguments.device == "cpu",
        disable_tqdm=True,
    )
    return DistilWhisperTrainer(
        model,
        training_args,
        teacher=teacher,
        train_dataset=read_rows(arguments),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )


class TrainingStep:
    """One system, with its optimiser, and the batch of all its steps."""

    tasks = [STEP]

    def __init__(self, name: str, arguments: argparse.Namespace):
        self.trainer = trainer = make_trainer(name, arguments)
        trainer.create_optimizer_and_scheduler(1000)
        self.model, _ = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
        self.model.train()
        trainer.current_gradient_accumulation_steps = 1
        begun = time.perf_counter()
        self.batch = next(iter(trainer.get_train_dataloader()))
        self.collating = time.perf_counter() - begun
        self.label_tokens = (self.batch["labels"] != IGNORED).sum()

    def run(self, task: str) -> None:
        self.trainer.training_step(self.model, dict(self.batch), self.label_tokens)
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.trainer.optimizer.step()
        self.trainer.optimizer.zero_grad()

    def facts(self) -> dict:
        """Bytes of its checkpoint, and of its trained weights with AdamW's two moments in float32."""
        self.trainer.state.global_step = 1
        self.trainer._save_checkpoint(self.model, None)
        files = Path(self.trainer.args.output_dir, "checkpoint-1").iterdir()
        trained = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        checkpoint = sum(path.stat().st_size for path in files)
        return {"batch": self.collating, "checkpoint": checkpoint, "tensors": 3 * 4 * trained}
