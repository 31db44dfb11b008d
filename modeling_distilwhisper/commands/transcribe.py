"""Transcribe recordings of any length, with timestamps, by any Whisper: plain, LoRA, or with language experts.

    distilwhisper transcribe recordings --model distilwhisper-small --output_dir transcripts

Takes files and folders, which are searched with their subfolders. The language of each recording is detected, or given
by `--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3). Recordings that
fit Whisper's window (30 s) are transcribed together, whatever their languages, and a longer one alone: no transcript
depends on the other recordings. Formats that libsndfile cannot read (m4a, amr, webm) need the ffmpeg program. A
recording that cannot be read is named at the end and does not stop the others; files that are none are counted.
Transcripts that exist already are left alone, so an interrupted command continues, and a corrected text stays. An
output folder holds transcripts by one model, language and task. Several processes share the recordings, on several GPUs
or machines (`torchrun --nproc_per_node=2 -m modeling_distilwhisper transcribe ...`).
"""

import argparse
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm.auto import tqdm
from transformers import set_seed

from ..data.audio import read_audio
from ..languages_distilwhisper import known_languages
from ..runs.any_whisper import adapted_base, load_model, load_processor, weights_digest
from ..runs.files import write_atomically
from ..runs.precision import PRECISIONS
from ..runs.processes import begin, gather, is_main_process, on_main, share
from ..runs.run_folder import RunFolder
from ..transcription.recordings import (
    OutputClaims,
    Recording,
    batches,
    count_unused,
    find_recordings,
    find_unsupported,
)
from ..transcription.segments import Transcript, transcribe_clips
from ..transcription.subtitles import FORMATS
from .command_line import DEVICE, command, make_parser

# Whisper's remedy for loops: other temperatures where the text repeats itself or is unlikely (Radford et al., 4.5).
FALLBACK = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}


@command
def main(argv: list[str], prog: str) -> int:
    arguments = parse(argv, prog)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the name of a file may have bytes that are not text
    begin(arguments.output_dir)
    adapted_base(arguments.model)  # a LoRA adapter needs PEFT, an extra: an error now, before any work
    model = load_model(arguments.model, arguments.precision, arguments.device)
    processor = load_processor(arguments.model)
    recordings = on_main(
        find_recordings,
        arguments.recordings,
        arguments.output_dir,
        arguments.language,
        set(known_languages(model)),
    )
    settings = {"model": arguments.model, "weights": weights_digest(arguments.model)}
    settings |= {name: getattr(arguments, name) for name in ("language", "task", "num_beams", "fallback")}
    on_main(RunFolder, arguments.output_dir, {"run": settings})
    failures = on_main(find_unsupported, arguments.recordings, recordings)
    missing, complete = on_main(select_missing, recordings, arguments.formats, arguments.output_dir, failures)
    missing = share(missing)
    generation = {"task": arguments.task, "num_beams": arguments.num_beams} | (FALLBACK if arguments.fallback else {})
    # Sampling at other temperatures draws one random number after the other, so a batch would share them.
    size = 1 if arguments.fallback else arguments.batch_size
    rows = []
    with tqdm(total=len(missing), unit="recording", desc="Transcribed", disable=not is_main_process()) as bar:
        decoded = decode_each(missing, failures, bar)
        for batch in batches(decoded, size, processor.feature_extractor.n_samples):
            rows += transcribe_batch(batch, model, processor, generation, failures)
            bar.update(len(batch))
    rows, failures = gather(rows), dict(gather([*failures.items()]))
    if not is_main_process():
        return 0
    place = {recording.path: number for number, recording in enumerate(recordings)}
    rows.sort(key=lambda row: place[row["recording"]])
    print(tabulate(rows, headers="keys", floatfmt=".1f") if rows else "Nothing was transcribed.")
    print(f"{complete} of {len(recordings)} recordings had their transcripts already and were left alone.")
    used = [*(recording.path for recording in recordings), *failures]
    if unused := count_unused(arguments.recordings, used, arguments.output_dir):
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(unused.items()))
        print(f"Files not used: {counts}. A recording of such a suffix is read if its path itself is given.")
    for path, reason in failures.items():
        print(f"Left out: {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def select_missing(
    recordings: list[Recording], formats: list[str], output_dir: Path, failures: dict[Path, str]
) -> tuple[list[Recording], int]:
    """The recordings that lack a transcript in one of the formats, largest first, and how many lack none. Others go to
    `failures`. The paths of their transcripts are claimed, before any of them is written.
    """
    selected, complete, claims = [], 0, OutputClaims(output_dir)
    for recording in recordings:
        try:
            recording.missing = [name for name in formats if not Path(f"{recording.target}.{name}").is_file()]
            claims.check(recording)
            if not recording.missing:
                complete += 1
                continue
            recording.size = recording.path.stat().st_size
            selected.append(recording)
        except Exception as error:
            failures[recording.path] = reason_of(error)
    claims.claim(selected)
    return sorted(selected, key=lambda recording: -recording.size), complete


def decode_each(
    recordings: list[Recording], failures: dict[Path, str], bar: tqdm
) -> Iterator[tuple[Recording, np.ndarray]]:
    """Decodes one recording after the other. Those that cannot be read go to `failures`."""
    for recording in recordings:
        try:
            samples = read_audio(recording.path)
            if not len(samples):
                raise ValueError("the recording is empty")
        except Exception as error:  # whatever a damaged file may cause: it must not stop the others
            failures[recording.path] = reason_of(error).removeprefix(f"{recording.path} is ")
            bar.update()
            continue
        yield recording, samples


def transcribe_batch(
    batch: list[tuple[Recording, np.ndarray]],
    model,
    processor,
    generation: dict,
    failures: dict[Path, str],
) -> list[dict]:
    """Writes the missing transcripts of a batch; returns a row of the table for each recording."""
    begun = time.perf_counter()
    languages = [recording.language for recording, _ in batch]
    transcripts = transcribe_or_explain(model, processor, [clip for _, clip in batch], languages, generation)
    seconds = (time.perf_counter() - begun) / len(batch)
    rows = []
    for (recording, _), transcript in zip(batch, transcripts, strict=True):
        try:
            if isinstance(transcript, Exception):
                raise transcript
            recording.target.parent.mkdir(parents=True, exist_ok=True)
            for suffix in recording.missing:
                write_atomically(f"{recording.target}.{suffix}", FORMATS[suffix](transcript))
        except Exception as error:
            failures[recording.path] = reason_of(error)
            continue
        row = {"recording": recording.path, "language": transcript.language, "seconds": transcript.seconds}
        rows.append({**row, "took": seconds, "words": len(transcript.text.split())})
    return rows


def transcribe_or_explain(
    model, processor, clips: list, languages: list[str | None], generation: dict
) -> list[Transcript | Exception]:
    """The transcript of each clip, or the exception it raised. If a batch fails, its clips are tried one by one."""
    set_seed(0)  # sampling at other temperatures is random
    try:
        return [*transcribe_clips(model, processor, clips, languages, **generation)]
    except Exception as error:
        if len(clips) == 1:
            return [error.with_traceback(None)]  # a traceback would hold memory that others need
    transcripts = []
    for clip, language in zip(clips, languages, strict=True):
        transcripts += transcribe_or_explain(model, processor, [clip], [language], generation)
    return transcripts


def reason_of(error: Exception) -> str:
    """Why a recording has no transcript, for the user."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("recordings", nargs="+", type=Path, help="files and folders")
    parser.add_argument("--model", required=True, help="folder or Hub id of a multilingual Whisper")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the transcripts")
    parser.add_argument("--language", default="detect", help="a code, 'folder', or 'detect' (the default)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="by default all")
    parser.add_argument(
        "--task",
        choices=["transcribe", "translate"],
        default="transcribe",
        help="transcribe, or translate into English",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="at most this many recordings at a time")
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument(
        "--fallback", action="store_true", help="try other temperatures where a text goes wrong: slower"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="precision of the weights")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
