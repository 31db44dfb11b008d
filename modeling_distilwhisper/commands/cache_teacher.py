"""Run a teacher once over the training data and store its predictions, so that training needs no teacher in memory.

    distilwhisper cache-teacher --student openai/whisper-base --teacher openai/whisper-large-v2 \
        --languages gl ca --data "recordings/{language}" --output_dir teacher-gl-ca

    distilwhisper train --student openai/whisper-base --teacher_cache teacher-gl-ca \
        --languages gl ca --data "recordings/{language}" --output_dir distilwhisper-base

For each position of each reference transcript it stores the k likeliest tokens and the total probability of all others,
0.5 kB for k = 64; or, with --k 0, the teacher's last hidden state, 2.5 kB for whisper-large, which gives the teacher's
predictions at any temperature. If stopped, it continues; with more languages or corpora it adds what is missing.
Another student with the same tokenizer, or other settings of training, can use the same cache. Several processes share
the work, on several GPUs or machines (`torchrun --nproc_per_node=2 -m modeling_distilwhisper cache-teacher ...`).
"""

import sys
from dataclasses import dataclass, field
from functools import partial

import torch
from datasets import Dataset
from tabulate import tabulate
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import WhisperConfig, WhisperTokenizer
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ..data.collate import SpeechCollator
from ..data.selection import read_rows
from ..data.sources import parse_sources
from ..own_tokens_distilwhisper import with_own_languages
from ..repository_distilwhisper import commit_of_now
from ..runs.any_whisper import load_config, load_processor, weights_digest
from ..runs.numbers import Range
from ..runs.precision import PRECISIONS
from ..runs.processes import begin, gather, is_main_process, on_main, require_same, share
from ..runs.starts import read_starts, without_detected
from ..training.cache_files import tokenizer_digest
from ..training.cache_writer import CacheWriter, WithDigests
from ..training.row_names import KEY
from ..training.teacher import Teacher, load_teacher
from .command_line import DEVICE, command, parse_dataclasses
from .training_run.models import precision_of_teacher


@dataclass
class CacheArguments:
    """The settings of a cache of a teacher."""

    student: str = field(metadata={"help": "Folder or Hub id of the student, whose tokens are stored."})
    teacher: str = field(metadata={"help": "Folder or Hub id of the Whisper to learn from."})
    languages: list[str] = field(metadata={"help": "Codes of the languages, such as gl ca."})
    data: list[str] = field(metadata={"help": "Corpora, as for `distilwhisper train`; their training split is stored."})
    output_dir: str = field(metadata={"help": "Folder of the cache."})
    init_from: list[str] = field(
        default_factory=list,
        metadata={
            "help": "For languages that Whisper has no token for, as in training: ga=cy, the relative by whose token "
            "the teacher is asked. By default it is asked by the language that it hears."
        },
    )
    k: int = field(
        default=64,
        metadata={
            "help": "How many tokens of each position are stored; 0: the hidden state instead, which gives all tokens."
        },
    )
    temperatures: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "With k: temperatures that a training may distil at."}
    )
    teacher_precision: str = field(
        default="auto", metadata={"help": f"One of {', '.join(PRECISIONS)}; int8 is LLM.int8()."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most this many rows of each language, for a try."})
    batch_size: int = field(default=16, metadata={"help": "Utterances at a time."})
    part_size: int = field(
        default=512, metadata={"help": "Utterances per file; an interruption loses at most this many."}
    )
    workers: int = field(default=0, metadata={"help": "Processes that compute features."})
    device: str = field(default=DEVICE, metadata={"help": "Where the teacher runs: cpu, cuda, mps."})


@command
def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, CacheArguments)
    begin(arguments.output_dir)
    processor, config = load_processor(arguments.student), load_config(arguments.student)
    digest = tokenizer_digest(processor)  # before it gets tokens that Whisper does not have
    starts = read_starts(arguments.init_from, arguments.languages)
    config = with_own_languages(config, processor.tokenizer, arguments.languages, without_detected(starts))
    teacher = load_teacher(arguments.teacher, arguments.teacher_precision, arguments.device).prepare(
        config, processor, arguments.device
    )
    writer = open_cache(arguments, teacher, digest, config)
    collator = SpeechCollator(processor, extra=WithDigests(teacher.batch_extra))
    table = []
    for source in parse_sources(arguments.data, arguments.languages):
        for language in arguments.languages:
            selection = read_rows(
                source,
                "train",
                language,
                max_rows=arguments.max_rows,
                processor=processor,
                max_tokens=config.max_target_positions,
            )
            rows = selection.rows
            require_same(f"rows of {selection.title}", [rows[name][:] for name in (*KEY, "text", "seconds")])
            missing = on_main(missing_rows, rows, writer, processor.tokenizer)
            store(writer, collator, rows.select(share(missing)), config, arguments)
            counts = {"rows": len(rows), "new": len(missing), "left out": selection.left_out.total()}
            table.append({"corpus": source.name, "language": language, **counts})
    gather([])  # all files of all processes are there
    if not is_main_process():  # the main one may end, and release the folder, while another looks at its files
        return
    print(tabulate(table, headers="keys"))
    print(f"\n{arguments.output_dir}: {writer.megabytes():.1f} MB")


def open_cache(arguments: CacheArguments, teacher: Teacher, digest: str, config: WhisperConfig) -> CacheWriter:
    """The cache in the output folder, which remembers what it was made with, such as the digest of the tokenizer.

    Raises:
        ValueError: k is more than the student has tokens.
    """
    Range(int, 0, config.vocab_size).check("k", arguments.k)
    metadata = {
        "teacher": arguments.teacher,
        "teacher weights": weights_digest(arguments.teacher) or commit_of_now(arguments.teacher, {}),
        "teacher precision": precision_of_teacher(teacher, arguments.teacher_precision),
        "tokenizer": digest,
        "vocabulary": config.vocab_size,
    }
    return CacheWriter(
        arguments.output_dir,
        teacher,
        k=arguments.k or None,
        temperatures=arguments.temperatures,
        metadata=metadata,
        data=arguments.data,
    )


def missing_rows(rows: Dataset, writer: CacheWriter, tokenizer: WhisperTokenizer) -> list[int]:
    """The indices of the rows that the cache lacks, shortest first."""
    seconds, without_audio = rows["seconds"][:], rows.remove_columns("audio")
    missing = [index for index, row in enumerate(without_audio) if writer.lacks(row, tokenizer)]
    return sorted(missing, key=lambda index: seconds[index])


def store(
    writer: CacheWriter, collator: SpeechCollator, rows: Dataset, config: WhisperConfig, arguments: CacheArguments
) -> None:
    """Adds the teacher's predictions for the rows, a file for each `part_size` of them."""
    collate = partial(batch_of, collator)
    loader = DataLoader(rows, batch_size=arguments.batch_size, num_workers=arguments.workers, collate_fn=collate)
    lines, is_quiet = [], not len(rows) or not is_main_process()
    for keys, batch in tqdm(loader, desc="Teacher's predictions", unit="batch", disable=is_quiet):
        batch = {name: value.to(arguments.device) for name, value in batch.items()}
        decoder_input_ids = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
        lines += writer.lines(keys, batch, decoder_input_ids)
        if len(lines) >= arguments.part_size:
            writer.write(lines)
            lines = []
    if lines:
        writer.write(lines)


def batch_of(collator: SpeechCollator, rows: list[dict]) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The columns by which the cache finds each row, and the rows as a batch."""
    return [{name: row[name] for name in KEY} for row in rows], collator(rows)


if __name__ == "__main__":
    sys.exit(main())
