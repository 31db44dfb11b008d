"""What a training step costs: plain fine-tuning, LoRA and experts side by side, on random weights.

    python examples/benchmark.py train

Every system is a process of its own, and they take turns, one step each, so that what else the machine does at a moment
meets them all. A step is what the trainer does with a batch that is there already: loss, gradients, optimiser; making
the batch is the work of a data loader's processes meanwhile. The teacher is of the student's size.
"""

import argparse
import ctypes
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from peft import LoraConfig, get_peft_model
from tabulate import tabulate
from tokenizers.pre_tokenizers import ByteLevel
from tqdm.auto import tqdm
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
    set_seed,
)
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.audio import SAMPLING_RATE
from modeling_distilwhisper.collate import SpeechCollator
from modeling_distilwhisper.data.rows import make_rows
from modeling_distilwhisper.teacher import Teacher
from modeling_distilwhisper.teacher_cache import (
    CacheWriter,
    TeacherCache,
    WithDigests,
    tokenizer_digest,
)
from modeling_distilwhisper.trainer import DistilWhisperTrainer
from modeling_distilwhisper.training_args import DistilWhisperTrainingArguments

# Width, layers of each side, heads, as published.
SIZES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12), "medium": (1024, 24, 16)}
LANGUAGE = "gl"
BASELINE, CLSR = "fc1 and fc2 only", "CLSR, full experts"
# Settings of the experts, or what else is trained; and the teacher.
SYSTEMS = {
    "full fine-tuning": ("all", None),
    BASELINE: ("fc1 and fc2", None),
    "LoRA, r = 32": ("LoRA", None),
    CLSR: ({}, None),
    "CLSR, r = 64": ({"expert_rank": 64}, None),
    "DistilWhisper, teacher live": ({}, "live"),
    "DistilWhisper, cache of k = 64": ({}, "likeliest tokens"),
    "DistilWhisper, cache of states": ({}, "hidden states"),
}
CACHES = {"likeliest tokens": 64, "hidden states": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train"])
    names = [name for name in SYSTEMS if name not in (BASELINE, CLSR)]
    parser.add_argument(
        "--beside",
        nargs="*",
        choices=names,
        default=names,
        metavar="SYSTEM",
        help=f"what to compare with {BASELINE!r} and {CLSR!r}, where all at once need too much memory: {names}",
    )
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=40, help="tokens of each row's labels")
    parser.add_argument("--rounds", type=int, default=9, help="steps of each system that count; two go before them")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.systems = [name for name in SYSTEMS if name in (BASELINE, CLSR, *args.beside)]
    with tempfile.TemporaryDirectory() as folder:
        write_batch(Path(folder), args)
        results = take_turns(Path(folder), args)
    base, clsr = (statistics.median(results[name]["seconds"]) for name in (BASELINE, CLSR))
    table = []
    for name, found in results.items():
        median = statistics.median(found["seconds"])
        table.append(
            {
                "": name,
                "median s": median,
                "fastest s": min(found["seconds"]),
                f"/ {BASELINE}": median / base,
                f"/ {CLSR}": median / clsr,
                "making a batch s": found["batch"],
                "peak memory GB": found["memory"] / 1e9,
                "checkpoint MB": found["checkpoint"] / 1e6,
                "/ its tensors": found["checkpoint"] / found["tensors"],
            }
        )
    print(
        f"whisper-{args.size}, random weights, batch {args.batch_size}, {args.tokens} label tokens, {args.rounds} steps"
    )
    print(f"float32, {args.device}, {torch.get_num_threads()} threads\n")
    print(tabulate(table, headers="keys", floatfmt=".2f"))


def make_processor() -> WhisperProcessor:
    """Whisper's features and control tokens, with letters for a vocabulary."""
    letters = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=letters | {"<|endoftext|>": len(letters)}, merges=[], pad_token="<|endoftext|>")
    names = ("startoftranscript", LANGUAGE, "translate", "transcribe", "notimestamps")
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    return WhisperProcessor(WhisperFeatureExtractor(), tokenizer)


def make_whisper(size: str, seed: int) -> WhisperForConditionalGeneration:
    width, layers, heads = SIZES[size]
    tokenizer = make_processor().tokenizer
    end, start, language = tokenizer.convert_tokens_to_ids(
        ["<|endoftext|>", "<|startoftranscript|>", f"<|{LANGUAGE}|>"]
    )
    set_seed(seed)
    config = WhisperConfig(
        **{
            f"{side}_{name}": value
            for side in ("encoder", "decoder")
            for name, value in {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}.items()
        },
        d_model=width,
        decoder_start_token_id=start,
        **{f"{name}_token_id": end for name in ("pad", "bos", "eos")},
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(lang_to_id={f"<|{LANGUAGE}|>": language}, is_multilingual=True)
    return model


def write_batch(folder: Path, args: argparse.Namespace) -> None:
    """The student, the recordings of one batch (noise of 30 s), and what the teacher expects in them."""
    make_whisper(args.size, seed=0).save_pretrained(folder / "student")
    processor = make_processor()
    noise = np.random.default_rng(0)
    for number in range(args.batch_size):
        soundfile.write(folder / f"{number}.wav", 0.1 * noise.standard_normal(30 * SAMPLING_RATE), SAMPLING_RATE)
    rows = list(read_rows(folder, args))
    teacher = Teacher(make_whisper(args.size, seed=1))
    batch = SpeechCollator(processor, extra=WithDigests(None))(rows)
    config = teacher.model.config
    prompted = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
    about = {"tokenizer": tokenizer_digest(processor), "vocabulary": config.vocab_size}
    for kind, k in CACHES.items():
        writer = CacheWriter(folder / kind, teacher, k=k, temperatures=[1.0], about=about, data=["noise"])
        writer.write(writer.lines(rows, batch, prompted))


def read_rows(folder: Path, args: argparse.Namespace):
    text = "a" * (args.tokens - 5)  # with a space in front; language, task, no times and end make up the rest
    told = {"text": text, "language": LANGUAGE, "data_set": "noise", "split": "train"}
    return make_rows(
        {"audio": folder / f"{number}.wav", "id": str(number), **told} for number in range(args.batch_size)
    )


def make_trainer(name: str, folder: Path, args: argparse.Namespace) -> DistilWhisperTrainer:
    trained, teacher = SYSTEMS[name]
    student, processor = folder / "student", make_processor()
    if isinstance(trained, dict):
        model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=[LANGUAGE], **trained)
    else:
        model = WhisperForConditionalGeneration.from_pretrained(student)
    if trained == "LoRA":
        model = get_peft_model(model, LoraConfig(r=32, lora_alpha=64, target_modules=["fc1", "fc2"]))
    elif trained == "fc1 and fc2":
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(".fc1." in parameter_name or ".fc2." in parameter_name)
    if teacher == "live":
        teacher = Teacher(make_whisper(args.size, seed=1))
    elif teacher is not None:
        teacher = TeacherCache(folder / teacher)
    training_args = DistilWhisperTrainingArguments(
        output_dir=str(folder / name),
        per_device_train_batch_size=args.batch_size,
        max_steps=1000,
        warmup_steps=1,
        eval_strategy="no",
        load_best_model_at_end=False,
        report_to="none",
        use_cpu=args.device == "cpu",
        disable_tqdm=True,
    )
    return DistilWhisperTrainer(
        model,
        training_args,
        teacher=teacher,
        train_dataset=read_rows(folder, args),
        data_collator=SpeechCollator(processor),
        processing_class=processor,
    )


def work(name: str, folder: Path, args: argparse.Namespace, pipe) -> None:
    """One system: makes a step whenever it is told to; at last a checkpoint."""
    torch.set_num_threads(args.threads)
    trainer = make_trainer(name, folder, args)
    trainer.create_optimizer_and_scheduler(1000)
    model, _ = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    model.train()
    trainer.current_gradient_accumulation_steps = 1
    begun = time.perf_counter()
    batch = next(iter(trainer.get_train_dataloader()))
    collating = time.perf_counter() - begun
    tokens = (batch["labels"] != -100).sum()
    pipe.send("ready")
    while pipe.recv() == "step":
        begun = time.perf_counter()
        trainer.training_step(model, dict(batch), tokens)
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        if args.device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # what a step left free goes to the next system's
        pipe.send(seconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if args.device == "cuda":
        memory = torch.cuda.max_memory_allocated()
    trainer.state.global_step = 1
    trainer._save_checkpoint(model, None)
    files = Path(trainer.args.output_dir, "checkpoint-1").iterdir()
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    checkpoint = sum(path.stat().st_size for path in files)
    # The weights and AdamW's two moments, in float32.
    pipe.send({"memory": memory, "batch": collating, "checkpoint": checkpoint, "tensors": 3 * 4 * learned})


def take_turns(folder: Path, args: argparse.Namespace) -> dict[str, dict]:
    args.threads = torch.get_num_threads()
    context = multiprocessing.get_context("spawn")
    pipes, results = {}, {name: {"seconds": []} for name in args.systems}
    for name in tqdm(args.systems, desc="Starting", leave=False):
        pipes[name], theirs = context.Pipe()
        context.Process(target=work, args=(name, folder, args, theirs), daemon=True).start()
        theirs.close()
        pipes[name].recv()
    for number in tqdm(range(args.rounds + 2), desc="Rounds", leave=False):
        for name, pipe in pipes.items():
            pipe.send("step")
            seconds = pipe.recv()
            if number >= 2:
                results[name]["seconds"].append(seconds)
    for name, pipe in pipes.items():
        pipe.send("end")
        results[name] |= pipe.recv()
    return results


if __name__ == "__main__":
    main()
