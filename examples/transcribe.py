"""Transcribe recordings of any length, with times, by any Whisper: plain, LoRA, or with language experts.

    python examples/transcribe.py recordings --model distilwhisper-small --output_dir transcripts

Takes files and folders, which are searched to their depth. Each recording's language is detected, or given by
`--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3). Recordings of like
length are transcribed together, whatever their languages. A recording that cannot be read, such as a phone's `.m4a`, is
named at the end, with what to do, and does not stop the rest; those that have their transcripts already are left alone,
so that an interrupted run goes on.
"""

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from tabulate import tabulate
from tqdm.auto import tqdm
from transformers import set_seed

from modeling_distilwhisper.any_whisper import load_model, load_processor
from modeling_distilwhisper.audio import read_audio
from modeling_distilwhisper.precision import PRECISIONS
from modeling_distilwhisper.run_folder import write_whole
from modeling_distilwhisper.segments import transcribe_clips
from modeling_distilwhisper.subtitles import FORMATS

ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} | {".oga", ".opus", ".aif"}
FOREIGN = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".3gp", ".amr"}  # phones and browsers record so; not libsndfile's
# Whisper's own remedy for loops: other temperatures where the text repeats itself or is unlikely (Radford et al., 4.5).
FALLBACK = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}


@dataclass
class Recording:
    path: Path
    target: Path  # of its transcripts, but for the ending
    language: str | None
    seconds: float = 0.0


def main() -> int:
    args = parse()
    model = load_model(args.model, args.dtype, args.device)
    processor = load_processor(args.model)
    known = {name.strip("<|>") for name in getattr(model.generation_config, "lang_to_id", None) or {}}
    if not known:
        raise ValueError(f"{args.model} is not a multilingual Whisper.")
    wanted, foreign = find(args, known)
    recordings, failures = [], {path: advice(path) for path in foreign}
    for recording in wanted:
        if all(recording.target.with_name(f"{recording.target.name}.{ending}").is_file() for ending in args.formats):
            continue
        try:
            recording.seconds = soundfile.info(recording.path).duration
            recordings.append(recording)
        except (soundfile.LibsndfileError, OSError) as error:
            failures[recording.path] = f"not readable audio ({error})"
    settings = {"task": args.task, "num_beams": args.num_beams} | (FALLBACK if args.fallback else {})
    rows = []
    recordings.sort(key=lambda recording: -recording.seconds)
    with tqdm(total=round(sum(recording.seconds for recording in recordings)), unit="s", desc="Heard") as bar:
        for start in range(0, len(recordings), args.batch_size):
            batch = recordings[start : start + args.batch_size]
            rows += transcribe(batch, model, processor, args.formats, settings, failures)
            bar.update(round(sum(recording.seconds for recording in batch)))
    if rows:
        print(tabulate(rows, headers="keys", floatfmt=".1f"))
    else:
        print("Nothing was transcribed: no recordings, or none without transcripts.")
    for path, reason in failures.items():
        print(f"Left out: {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def transcribe(batch: list[Recording], model, processor, formats: list[str], settings: dict, failures: dict) -> list:
    """Writes the transcripts of a batch; gives a row of the table for each."""
    clips = {}
    for recording in batch:
        try:
            clips[recording.path] = read_audio(recording.path)
            if not len(clips[recording.path]):
                raise ValueError("there is nothing in it")
        except ValueError as error:
            clips.pop(recording.path, None)
            failures[recording.path] = str(error)
    batch = [recording for recording in batch if recording.path in clips]
    if not batch:
        return []
    set_seed(0)  # other temperatures draw
    begun = time.perf_counter()
    spoken = [recording.language for recording in batch]
    transcripts = transcribe_clips(model, processor, list(clips.values()), spoken, **settings)
    share = (time.perf_counter() - begun) / len(batch)
    rows = []
    for recording, transcript in zip(batch, transcripts, strict=True):
        recording.target.parent.mkdir(parents=True, exist_ok=True)
        for ending in formats:
            write_whole(f"{recording.target}.{ending}", FORMATS[ending](transcript))
        told = {"recording": recording.path, "language": transcript.language, "seconds": transcript.seconds}
        rows.append({**told, "took": share, "words": len(transcript.text.split())})
    return rows


def find(args: argparse.Namespace, known: set[str]) -> tuple[list[Recording], list[Path]]:
    """Every recording once, with its transcripts' place: under the output folder as it lies under its own.

    Returns:
        The recordings, and those that only other programs read and that have not been converted.
    """
    found: dict[Path, Path] = {}
    for given in args.recordings:
        if given.is_dir():
            endings = ENDINGS | FOREIGN
            inside = sorted(path for path in given.rglob("*") if path.suffix.lower() in endings and path.is_file())
            found |= {path: path.relative_to(given) for path in inside}
        elif given.is_file():
            found[given] = Path(given.name)
        else:
            raise ValueError(f"{given} is not there.")
    foreign = [path for path in found if path.suffix.lower() in FOREIGN]
    found = {path: place for path, place in found.items() if path not in foreign}
    converted = {path.with_suffix("") for path in found}  # talk.flac beside talk.m4a is the same talk
    stems = [place.with_suffix("") for place in found.values()]
    recordings = []
    for path, place in found.items():
        # talk.srt, or where there is a talk.wav and a talk.mp3, talk.wav.srt and talk.mp3.srt
        stem = place.with_suffix("")
        target = args.output_dir / (stem if stems.count(stem) == 1 else place)
        language = {"detect": None, "folder": path.parent.name}.get(args.language, args.language)
        if language is not None and language not in known:
            raise ValueError(
                f"{path}: {language!r} is no language of this Whisper. Expected one of: {', '.join(sorted(known))}."
            )
        recordings.append(Recording(path, target, language))
    if len({recording.target for recording in recordings}) < len(recordings):
        raise ValueError("Two recordings of one name would share a transcript. Give their folders one by one.")
    return recordings, [path for path in foreign if path.with_suffix("") not in converted]


def advice(path: Path) -> str:
    target = path.with_suffix(".flac")
    command = shlex.join(["ffmpeg", "-i", str(path), "-ac", "1", "-ar", "16000", str(target)])
    return f"{path.suffix} is not read here. Convert it, then start this again: {command}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path, help="files and folders")
    parser.add_argument("--model", required=True, help="folder or Hub id of a multilingual Whisper")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--language", default="detect", help="a code, 'folder', or 'detect' (the default)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--task", choices=["transcribe", "translate"], default="transcribe")
    parser.add_argument("--batch_size", type=int, default=8, help="recordings at a time")
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument(
        "--fallback", action="store_true", help="try other temperatures where a text goes wrong: slower"
    )
    parser.add_argument("--dtype", choices=PRECISIONS, default="auto", help="precision")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
