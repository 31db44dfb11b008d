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
from ...evaluation.gates import on_device
from ...modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ...runs.extras import require
from ...training.arguments import DistilWhisperTrainingArguments
from ...training.lora import with_lora
from ...training.teacher import Teacher
from ...training.trainer import DistilWhisperTrainer
from .tables import print_table, write_measured
from .turns import take_turns
from .whispers import LANGUAGES, made_on, make_processor, make_whisper

BASELINE, CLSR, LORA = "fc1 and fc2 only", "CLSR, full experts", "LoRA, r = 32"
# Settings of the experts, by default of one language, or the weights that are trained instead; and the teacher.
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
    "CLSR, eight languages": ({"languages": LANGUAGES}, None),
    "CLSR, r = 64, eight languages": ({"languages": LANGUAGES, "expert_rank": 64}, None),
}
MIXED = [name for name, (trained, _) in SYSTEMS.items() if "languages" in trained]
CACHES = {"likeliest tokens": 64, "hidden states": None}
CACHED = [name for name, (_, teacher) in SYSTEMS.items() if teacher in CACHES]
# The libraries that a system needs, of those that a machine with PyTorch and Transformers may lack.
NEEDED: dict[str, tuple[str, ...]] = {LORA: ("peft",)} | dict.fromkeys(CACHED, ("datasets", "soundfile"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [name for name in SYSTEMS if name not in (BASELINE, CLSR)]
    found = [name for name in names if all(map(importlib.util.find_spec, NEEDED.get(name, ())))]
    found = [name for name in found if name not in MIXED]  # they take the memory of eight
    parser.add_argument(
        "--beside",
        nargs="*",
        choices=names,
        default=found,
        metavar="SYSTEM",
        help=f"systems to time with {BASELINE!r} and {CLSR!r}, of {names}; by default those of one language whose "
        "libraries are here",
    )
    parser.add_argument("--batch_size", type=int, nargs="+", default=[4], help="rows in a batch, of one or several")
    parser.add_argument("--tokens", type=int, default=40, help="label tokens of each row")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="of the computation; weights in float32"
    )
    parser.add_argument("--no_checkpoint", action="store_true", help="do not measure what a checkpoint takes on disk")


def run(arguments: argparse.Namespace) -> None:
    for name in arguments.beside:
        require(*NEEDED.get(name, ()))
    systems = [name for name in SYSTEMS if name in (BASELINE, CLSR, *arguments.beside)]
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = Path(folder)
        arguments.in_files = any(name in CACHED for name in arguments.beside)
        write_batch(arguments)
        results = take_turns(TrainingStep, systems, arguments)
    for rows in arguments.batch_size:
        print(f"whisper-{arguments.size}, random weights, batch {rows}, {arguments.tokens} label tokens,")
        print(f"{arguments.rounds} steps, {arguments.precision}, {arguments.device}, ", end="")
        print(f"{torch.get_num_threads()} threads\n")
        print_table(rows_of_table(results, rows), floatfmt=".2f")
        print()
    write_measured(arguments, {arguments.precision: results})
    if left_out := [name for name in SYSTEMS if name not in systems]:
        libraries = " or ".join(dict.fromkeys(itertools.chain(*NEEDED.values())))
        print(f"Left out: {', '.join(left_out)}. --beside adds them; some need {libraries}.")


def rows_of_table(results: dict[str, dict], rows: int) -> list[dict]:
    """The table of one batch size: of the systems that it was measured for."""
    medians = {
        name: statistics.median(seconds)
        for name, result in results.items()
        if (seconds := result["seconds"].get(task_of(rows)))
    }
    table = []
    for name, median in medians.items():
        result = results[name]
        row = {"": name, "median s": median, "fastest s": min(result["seconds"][task_of(rows)])}
        row |= {f"/ {other}": median / medians[other] for other in (BASELINE, CLSR) if other in medians}
        memory = result["task_memory"].get(task_of(rows), result["memory"])
        row |= {"making a batch s": result["batch"][task_of(rows)], "peak memory GB": memory / 1e9}
        if "checkpoint" in result:
            row["checkpoint MB"] = result["checkpoint"] / 1e6
            row["/ its tensors"] = result["checkpoint"] / result["tensors"]
        table.append(row)
    return table


def task_of(rows: int) -> str:
    return f"step, batch {rows}"


def write_batch(arguments: argparse.Namespace) -> None:
    """Writes the student, the recordings of the largest batch (noise of 30 s), and the teacher's predictions for it."""
    folder = arguments.folder
    with made_on(arguments.device):
        make_whisper(arguments.size, seed=0).save_pretrained(folder / "student")
    torch.cuda.empty_cache()  # of this process, which only waits from now on
    if not arguments.in_files:
        return
    import soundfile

    from ...training.cache_files import tokenizer_digest
    from ...training.cache_writer import CacheWriter, WithDigests

    processor = make_processor()
    for number in range(max(arguments.batch_size)):
        soundfile.write(folder / f"{number}.wav", noise(number), SAMPLING_RATE)
    rows = list(read_rows(arguments, LANGUAGES[:1]))
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


def read_rows(arguments: argparse.Namespace, languages: list[str]):
    """The rows of the largest batch, in these languages in turn.

    They are in memory, or with their audio in files where a teacher's cache has to find them.
    """
    text = "a" * (arguments.tokens - 5)  # the others: the space before it, language, task, no timestamps, end
    columns = {"text": text, "data_set": "noise", "split": "train"}
    rows = [
        {"id": str(number), "language": languages[number % len(languages)], **columns}
        for number in range(max(arguments.batch_size))
    ]
    if not arguments.in_files:
        return [{"audio": noise(number), **row} for number, row in enumerate(rows)]
    from ...data.rows import make_rows

    return make_rows({"audio": arguments.folder / f"{number}.wav", **row} for number, row in enumerate(rows))


def make_trainer(name: str, arguments: argparse.Namespace) -> DistilWhisperTrainer:
    trained, kind = SYSTEMS[name]
    folder = arguments.folder
    student, processor = folder / "student", make_processor()
    if isinstance(trained, dict):
        model = DistilWhisperForConditionalGeneration.from_whisper(
            student, **{"languages": languages_of(name), **trained}
        )
    else:
        model = WhisperForConditionalGeneration.from_pretrained(student)
    if trained == "LoRA":
        model = with_lora(model, rank=32)
    elif trained == "fc1 and fc2":
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(".fc1." in parameter_name or ".fc2." in parameter_name)
    teacher: Any = None
    if kind == "live":
        with made_on(arguments.device):
            teacher = Teacher(make_whisper(arguments.size, seed=1))
    elif kind is not None:
        from ...training.teacher_cache import TeacherCache

        teacher = TeacherCache(folder / kind)
    training_args = DistilWhisperTrainingArguments(
        output_dir=str(folder / name),
        per_device_train_batch_size=max(arguments.batch_size),
        bf16=arguments.precision == "bfloat16",
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
        train_dataset=read_rows(arguments, languages_of(name)),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )


def languages_of(name: str) -> list[str]:
    """The languages of a system's rows."""
    return LANGUAGES if name in MIXED else LANGUAGES[:1]


class TrainingStep:
    """One system, with its optimiser; a task is a step with a batch size."""

    def __init__(self, name: str, arguments: argparse.Namespace):
        self.keeps_checkpoint = not arguments.no_checkpoint
        self.trainer = trainer = make_trainer(name, arguments)
        trainer.create_optimizer_and_scheduler(1000)
        self.model, _ = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
        self.model.train()
        trainer.current_gradient_accumulation_steps = 1
        collate = trainer.get_train_dataloader().collate_fn
        self.batches, self.collating = {}, {}
        for rows in arguments.batch_size:
            if rows == 1 and len(languages_of(name)) > 1:
                continue
            begun = time.perf_counter()
            batch = collate([trainer.train_dataset[number] for number in range(rows)])
            self.collating[task_of(rows)] = time.perf_counter() - begun
            self.batches[task_of(rows)] = on_device(batch, trainer.args.device)
        self.tasks = list(self.batches)

    def run(self, task: str) -> None:
        batch = self.batches[task]
        try:
            self.trainer.training_step(self.model, dict(batch), (batch["labels"] != IGNORED).sum())
            self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
            self.trainer.optimizer.step()
        finally:  # also where memory was too little
            self.trainer.optimizer.zero_grad()

    def facts(self) -> dict:
        """Seconds to make a batch; bytes of its checkpoint, and of its trained weights with AdamW's two moments."""
        if not self.keeps_checkpoint:
            return {"batch": self.collating}
        self.trainer.state.global_step = 1
        self.trainer._save_checkpoint(self.model, None)
        files = Path(self.trainer.args.output_dir, "checkpoint-1").iterdir()
        trained = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        checkpoint = sum(path.stat().st_size for path in files)
        return {"batch": self.collating, "checkpoint": checkpoint, "tensors": 3 * 4 * trained}
