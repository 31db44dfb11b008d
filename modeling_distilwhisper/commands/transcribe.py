"""Transcribe recordings of any length, with timestamps, by any Whisper: plain, LoRA, or with language experts.

    distilwhisper transcribe recordings --model distilwhisper-small --output_dir transcripts

Takes files and folders, which are searched with their subfolders. The language of each recording is detected, or given
by `--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3). Speech is found
(silero-vad), cut at its pauses into windows of up to 30 s, and the windows of all recordings are transcribed together,
whatever their languages: no transcript depends on the other recordings. Text for sounds that are no speech is dropped;
the JSON file has it with the reason. Formats that libsndfile cannot read (m4a, amr, webm) need the ffmpeg program. A
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
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm.auto import tqdm
from transformers import set_seed

from ..data.audio import read_audio
from ..data.voice import find_detector
from ..languages_distilwhisper import known_languages
from ..runs.any_whisper import adapted_base, load_model, load_processor, weights_digest
from ..runs.detection import WHISPER
from ..runs.files import write_atomically
from ..runs.precision import TRANSCRIBING
from ..runs.processes import begin, gather, is_main_process, on_main, share
from ..runs.run_folder import RunFolder
from ..transcription.batched import BatchTranscriber
from ..transcription.cues import CueLimits
from ..transcription.detection import DetectionChoice, detection_choice
from ..transcription.doubts import FALLBACK
from ..transcription.recordings import (
    OutputClaims,
    Recording,
    batches,
    count_unused,
    find_recordings,
    find_unsupported,
)
from ..transcription.segments import Transcript
from ..transcription.sequential import transcribe_clips
from ..transcription.subtitles import FORMATS, content_of
from .command_line import DEVICE, add_detection, command, make_parser

LONG_FORMS = ("batched", "sequential")
Result = tuple[Recording, Transcript | Exception]


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
    choice = detection_choice(model, arguments.candidate_languages, arguments.detection, arguments.model)
    limits = CueLimits(arguments.max_line_width, arguments.max_lines, arguments.max_cue_seconds)
    on_main(RunFolder, arguments.output_dir, {"run": settings_of(arguments, choice)})
    failures = on_main(find_unsupported, arguments.recordings, recordings)
    missing, complete = on_main(select_missing, recordings, arguments.formats, arguments.output_dir, failures)
    missing = share(missing)
    rows = []
    started = time.perf_counter()
    with tqdm(total=len(missing), unit="recording", desc="Transcribed", disable=not is_main_process()) as bar:
        decoded = decode_each(missing, failures, bar)
        for recording, transcript in transcripts_of(decoded, model, processor, arguments, choice, bar):
            try:
                if isinstance(transcript, Exception):
                    raise transcript
                write(recording, transcript, limits, arguments.word_timestamps)
                rows.append(row_of(recording, transcript))
            except Exception as error:
                failures[recording.path] = reason_of(error)
            bar.update()
    rows, failures = gather(rows), dict(gather([*failures.items()]))
    if not is_main_process():
        return 0
    if rows:
        place = {recording.path: number for number, recording in enumerate(recordings)}
        rows.sort(key=lambda row: place[row["recording"]])
        print(tabulate(rows, headers="keys", floatfmt=".1f"))
        spoken, took = sum(row["seconds"] for row in rows), time.perf_counter() - started
        print(f"{spoken:.1f} s of recordings in {took:.1f} s: {spoken / took:.1f} times as fast as they were spoken.")
    else:
        print("Nothing was transcribed.")
    print(f"{complete} of {len(recordings)} recordings had their transcripts already and were left alone.")
    used = [*(recording.path for recording in recordings), *failures]
    if unused := count_unused(arguments.recordings, used, arguments.output_dir):
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(unused.items()))
        print(f"Files not used: {counts}. A recording of such a suffix is read if its path itself is given.")
    for path, reason in failures.items():
        print(f"Left out: {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def settings_of(arguments: argparse.Namespace, choice: DetectionChoice) -> dict:
    """What decides the transcripts in an output folder."""
    settings = {"model": arguments.model, "weights": weights_digest(arguments.model)}
    settings |= {name: getattr(arguments, name) for name in ("language", "task", "num_beams", "fallback")}
    if arguments.long_form != "sequential":  # as all folders of earlier versions are
        settings |= {"long_form": arguments.long_form, "vad": arguments.vad}
    return settings | choice.settings


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


def transcripts_of(
    decoded: Iterator[tuple[Recording, np.ndarray]],
    model,
    processor,
    arguments: argparse.Namespace,
    choice: DetectionChoice,
    bar: tqdm,
) -> Iterator[Result]:
    """The transcript of each recording, as they are done, or what went wrong with it."""
    generation = {"task": arguments.task, "num_beams": arguments.num_beams} | (FALLBACK if arguments.fallback else {})
    detecting: dict[str, Any] = {"candidate_languages": choice.candidates, "detection": choice.detection}
    # Sampling at other temperatures draws one random number after the other, so a batch would share them.
    size = 1 if arguments.fallback else arguments.batch_size
    if arguments.long_form == "sequential":
        for batch in batches(decoded, size, processor.feature_extractor.n_samples):
            clips, languages = [clip for _, clip in batch], [recording.language for recording, _ in batch]
            transcripts = transcribe_or_explain(model, processor, clips, languages, detecting | generation)
            yield from zip((recording for recording, _ in batch), transcripts, strict=True)
        return
    transcriber = BatchTranscriber(
        model,
        processor,
        find_detector(arguments.vad),
        batch_size=size,
        detect_each=arguments.language == "detect-windows",
        on_batch=lambda seconds: bar.set_postfix_str(f"{seconds:.0f} s of speech"),
        **detecting,
        **generation,
    )
    yield from transcriber((recording, samples, recording.language) for recording, samples in decoded)


def write(recording: Recording, transcript: Transcript, limits: CueLimits, word_timestamps: bool) -> None:
    """Writes the missing transcripts of a recording."""
    recording.target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in recording.missing:
        content = content_of(transcript, suffix, limits, word_timestamps)
        write_atomically(f"{recording.target}.{suffix}", content)


def row_of(recording: Recording, transcript: Transcript) -> dict:
    """The recording's row of the table."""
    row = {"recording": recording.path, "language": transcript.language, "seconds": transcript.seconds}
    return {**row, "words": len(transcript.text.split()), "dropped": len(transcript.dropped)}


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
    parser.add_argument(
        "--language",
        default="detect",
        help="a code; 'folder'; 'detect' (the default), once for a recording; or 'detect-windows', for each window",
    )
    add_detection(parser)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="by default all")
    parser.add_argument("--word_timestamps", action="store_true", help="write the times of words into .json")
    parser.add_argument("--max_line_width", type=int, default=42, help="columns of a line of subtitles")
    parser.add_argument("--max_lines", type=int, default=2, help="lines of subtitles at a time")
    parser.add_argument("--max_cue_seconds", type=float, default=7.0, help="how long subtitles are shown at most")
    parser.add_argument(
        "--task",
        choices=["transcribe", "translate"],
        default="transcribe",
        help="transcribe, or translate into English",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="windows of 30 s that are transcribed at a time")
    parser.add_argument(
        "--long_form",
        choices=LONG_FORMS,
        default="batched",
        help="windows of all recordings together, or one after the other, each with the text before it",
    )
    parser.add_argument(
        "--vad",
        default="silero",
        help="finds speech: silero, none, or module:function, which takes samples and returns (start, end) of speech",
    )
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument(
        "--fallback", action="store_true", help="try other temperatures where a text goes wrong: slower"
    )
    parser.add_argument("--precision", choices=TRANSCRIBING, default="auto", help="precision of the weights")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    arguments = parser.parse_args(argv)
    if arguments.long_form == "sequential" and (arguments.word_timestamps or arguments.language == "detect-windows"):
        parser.error("--word_timestamps and --language detect-windows need --long_form batched")
    detects = arguments.language in ("detect", "detect-windows")
    if not detects and (arguments.candidate_languages or arguments.detection != WHISPER):
        parser.error("--candidate_languages and --detection need --language detect or detect-windows")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
