"""Run a teacher once over the training data and keep what it expects, so that training needs no teacher in memory.

    python examples/run_cache_teacher.py --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl ca --data recordings/{language} --output_dir teacher-gl-ca

    python examples/run_distil.py --student openai/whisper-base --teacher_cache teacher-gl-ca \
        --languages gl ca --data recordings/{language} --output_dir distilwhisper-base

For each position of each reference transcript it stores the k likeliest tokens and the mass of all others, 0.5 kB for
k = 64; or, with --k 0, the teacher's last hidden state, 2.5 kB for whisper-large, which is as good as the teacher at
any temperature. examples/README.md says how far the first is from it. Stopped, it goes on where it was; with more
languages or corpora it adds what lacks. Another student of the same tokenizer, or other settings, use the same cache.
"""

import sys
from dataclasses import dataclass, field
from functools import partial

import torch
from tabulate import tabulate
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoConfig, HfArgumentParser, WhisperProcessor
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ..data import keep_usable, parse_sources
from ..data.collate import SpeechCollator
from ..runs.any_whisper import weights_digest
from ..runs.precision import PRECISIONS
from ..runs.settings import parse_settings
from ..training.teacher import load_teacher
from ..training.teacher_cache import KEY, CacheWriter, WithDigests, tokenizer_digest


@dataclass
class Arguments:
    student: str = field(metadata={"help": "Folder or Hub id of the Whisper that is to learn: its tokens are stored."})
    teacher: str = field(metadata={"help": "Folder or Hub id of the Whisper to learn from."})
    languages: list[str] = field(metadata={"help": "Codes of the languages, such as gl ca."})
    data: list[str] = field(metadata={"help": "Corpora, as run_distil.py reads them; their training split is taken."})
    output_dir: str = field(metadata={"help": "Folder of the cache."})
    k: int = field(
        default=64, metadata={"help": "How many tokens of each position are stored; 0: hidden states, which mean all."}
    )
    temperatures: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "With k: temperatures that a training may distil at."}
    )
    teacher_precision: str = field(
        default="auto", metadata={"help": f"One of {', '.join(PRECISIONS)}; int8 is LLM.int8()."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most so many rows of each language, for a try."})
    batch_size: int = field(default=16, metadata={"help": "Utterances at a time."})
    part_size: int = field(default=512, metadata={"help": "Utterances a file: what a stop may lose."})
    workers: int = field(default=0, metadata={"help": "Processes that compute features."})
    device: str = field(default="cuda" if torch.cuda.is_available() else "cpu", metadata={"help": "cpu, cuda, mps."})


def main(argv: list[str] | None = None) -> None:
    (args,) = parse_settings(HfArgumentParser(Arguments), sys.argv[1:] if argv is None else argv)
    processor = WhisperProcessor.from_pretrained(args.student)
    config = AutoConfig.from_pretrained(args.student)
    teacher = load_teacher(args.teacher, args.teacher_precision, args.device).prepare(config, processor, args.device)
    precision = {"auto": str(teacher.model.dtype)}.get(args.teacher_precision, args.teacher_precision)
    about = {
        "teacher": args.teacher,
        "teacher weights": weights_digest(args.teacher) or getattr(teacher.model.config, "_commit_hash", None),
        "teacher precision": precision,
        "tokenizer": tokenizer_digest(processor),
        "vocabulary": config.vocab_size,
    }
    writer = CacheWriter(
        args.output_dir, teacher, k=args.k or None, temperatures=args.temperatures, about=about, data=args.data
    )
    collator = SpeechCollator(processor, extra=WithDigests(teacher.in_batches))
    table = []
    for source in parse_sources(args.data, args.languages):
        for language in args.languages:
            rows = source.read("train", language)
            if args.max_rows is not None:
                rows = rows.select(range(min(args.max_rows, len(rows))))
            rows, left_out = keep_usable(rows, processor, config.max_target_positions)
            told = rows.remove_columns("audio")
            lacking = rows.select([n for n, row in enumerate(told) if writer.lacks(row, processor.tokenizer)])
            add(writer, collator, lacking.sort("seconds"), config, args)
            counts = {"rows": len(rows), "new": len(lacking), "left out": left_out.total()}
            table.append({"corpus": source.name, "language": language, **counts})
    print(tabulate(table, headers="keys"))
    print(f"\n{args.output_dir}: {writer.megabytes():.1f} MB")


def add(writer: CacheWriter, collator: SpeechCollator, rows, config, args: Arguments) -> None:
    settings = {"batch_size": args.batch_size, "num_workers": args.workers}
    loader = DataLoader(rows, collate_fn=partial(batch_of, collator), **settings)
    lines = []
    for own, batch in tqdm(loader, desc="Listening to the teacher", unit="batch", disable=not len(rows)):
        batch = {name: value.to(args.device) for name, value in batch.items()}
        prompted = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
        lines += writer.lines(own, batch, prompted)
        if len(lines) >= args.part_size:
            writer.write(lines)
            lines = []
    if lines:
        writer.write(lines)


def batch_of(collator: SpeechCollator, rows: list[dict]) -> tuple[list[dict], dict[str, torch.Tensor]]:
    return [{name: row[name] for name in KEY} for row in rows], collator(rows)


if __name__ == "__main__":
    main()
