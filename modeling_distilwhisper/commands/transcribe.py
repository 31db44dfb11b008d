"""Transcribe recordings of any length, with times, by any Whisper: plain, LoRA, or with language experts.

    python examples/transcribe.py recordings --model distilwhisper-small --output_dir transcripts

Takes files and folders, which are searched to their depth. Each recording's language is detected, or given by
`--language gl`, or read from the name of its folder (`--language folder`: recordings/gl/talk.mp3). Recordings of like
length are transcribed together, whatever their languages, and a long one alone. A recording that cannot be read is
named at the end and does not stop the rest; transcripts that are there already are left alone, so that an interrupted
run goes on and a corrected text stays. An output folder is of one model, language and task.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import soundfile
import torch
from tabulate import tabulate
from tqdm.auto import tqdm
from transformers import set_seed

from ..data.audio import read_audio
from ..runs.any_whisper import load_model, load_processor, weights_digest
from ..runs.files import write_whole
from ..runs.old_names import with_new_flags
from ..runs.precision import PRECISIONS
from ..runs.run_folder import RunFolder
from ..transcription.recordings import Places, Recording, batches, find_foreign, find_recordings
from ..transcription.segments import Transcript, transcribe_clips
from ..transcription.subtitles import FORMATS

# Whisper's own remedy for loops: other temperatures where the text repeats itself or is unlikely (Radford et al., 4.5).
FALLBACK = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file's name may have bytes that are no letters
    model = load_model(args.model, args.precision, args.device)
    processor = load_processor(args.model)
    known = {name.strip("<|>") for name in getattr(model.generation_config, "lang_to_id", None) or {}}
    if not known:
        raise ValueError(f"{args.model} is not a multilingual Whisper.")
    found = find_recordings(args.recordings, args.output_dir, args.language, known)
    decides = {"model": args.model, "weights": weights_digest(args.model)}
    decides |= {name: getattr(args, name) for name in ("language", "task", "num_beams", "fallback")}
    RunFolder(args.output_dir, {"run": decides})
    places = Places(args.output_dir)
    recordings, whole = [], 0
    failures = find_foreign(args.recordings, found)
    for recording in found:
        try:
            recording.missing = [name for name in args.formats if not Path(f"{recording.target}.{name}").is_file()]
            places.check(recording)
            if not recording.missing:
                whole += 1
                continue
            recording.seconds = soundfile.info(os.fsencode(recording.path)).duration
            recordings.append(recording)
        except Exception as error:  # whatever a damaged file may bring about: it must not stop the rest
            failures[recording.path] = reason(error)
    settings = {"task": args.task, "num_beams": args.num_beams} | (FALLBACK if args.fallback else {})
    rows = []
    with tqdm(total=round(sum(recording.seconds for recording in recordings)), unit="s", desc="Heard") as bar:
        for batch in batches(recordings, args.batch_size):
            rows += transcribe(batch, model, processor, settings, places, failures)
            bar.update(round(sum(recording.seconds for recording in batch)))
    print(tabulate(rows, headers="keys", floatfmt=".1f") if rows else "Nothing was transcribed.")
    print(f"{whole} of {len(found)} recordings had their transcripts already and were left alone.")
    for path, why in failures.items():
        print(f"Left out: {path}: {why}", file=sys.stderr)
    return 1 if failures else 0


def transcribe(batch: list[Recording], model, processor, settings: dict, places: Places, failures: dict) -> list[dict]:
    """Writes the transcripts of a batch that are missing; gives a row of the table for each recording."""
    clips = {}
    for recording in batch:
        try:
            samples = read_audio(recording.path)
            if not len(samples):
                raise ValueError("there is nothing in it")
            clips[recording.path] = samples
        except Exception as error:
            failures[recording.path] = reason(error)
    batch = [recording for recording in batch if recording.path in clips]
    if not batch:
        return []
    begun = time.perf_counter()
    spoken = [recording.language for recording in batch]
    transcripts = hear(model, processor, list(clips.values()), spoken, settings)
    share = (time.perf_counter() - begun) / len(batch)
    rows = []
    for recording, transcript in zip(batch, transcripts, strict=True):
        try:
            if isinstance(transcript, Exception):
                raise transcript
            places.take(recording)
            recording.target.parent.mkdir(parents=True, exist_ok=True)
            for ending in recording.missing:
                write_whole(f"{recording.target}.{ending}", FORMATS[ending](transcript))
        except Exception as error:
            failures[recording.path] = reason(error)
            continue
        told = {"recording": recording.path, "language": transcript.language, "seconds": transcript.seconds}
        rows.append({**told, "took": share, "words": len(transcript.text.split())})
    return rows


def hear(model, processor, clips: list, languages: list[str | None], settings: dict) -> list[Transcript | Exception]:
    """A transcript of each, or what it broke with: where a batch breaks, each of its recordings is heard alone."""
    set_seed(0)  # other temperatures draw
    try:
        return transcribe_clips(model, processor, clips, languages, **settings)
    except Exception as error:
        if len(clips) == 1:
            return [error.with_traceback(None)]  # which holds the memory that others need
    alone = zip(clips, languages, strict=True)
    return [one for clip, language in alone for one in hear(model, processor, [clip], [language], settings)]


def reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return f"not readable audio ({error.error_string})"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path, help="files and folders")
    parser.add_argument("--model", required=True, help="folder or Hub id of a multilingual Whisper")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--language", default="detect", help="a code, 'folder', or 'detect' (the default)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--task", choices=["transcribe", "translate"], default="transcribe")
    parser.add_argument("--batch_size", type=int, default=8, help="most recordings at a time")
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument(
        "--fallback", action="store_true", help="try other temperatures where a text goes wrong: slower"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="precision of the weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(with_new_flags(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
