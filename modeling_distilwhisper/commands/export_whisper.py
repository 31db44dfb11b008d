"""One language of a DistilWhisper as a plain Whisper, for faster-whisper, whisper.cpp and every other Whisper tool.

    python examples/export_whisper.py distilwhisper-base-ru --language ru --data "prompts/{language}" \
        --output_dir whisper-base-ru
    ct2-transformers-converter --model whisper-base-ru --output_dir whisper-base-ru-ct2 \
        --copy_files tokenizer.json preprocessor_config.json    # for faster-whisper

A plain Whisper cannot choose a path for each token, so each layer's is fixed by how its gates send the tokens of the
given audio. Three ways are tried: the expert where the majority goes there ("majority"), a mean of both paths' weights
by their shares ("mean"), experts in all layers ("experts"). Exported is the one with the lowest WER on that audio, the
nearest to the routed model where several are alike. export.json says what each scored there; score the export on a test
set by run_eval.py.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from tabulate import tabulate
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import WhisperProcessor

from .. import DistilWhisperForConditionalGeneration
from ..data import keep_usable, parse_sources
from ..data.collate import SpeechCollator
from ..evaluation.gates import measure_expert_usage
from ..evaluation.metrics import count_errors
from ..evaluation.normalization import NORMALIZERS
from ..evaluation.transcription import transcribe_rows
from ..export.whisper import WAYS, export_to_whisper, save_processor
from ..runs.any_whisper import weights_digest
from ..runs.files import write_whole
from ..runs.old_names import with_new_flags
from ..runs.records import RecordFile
from ..runs.run_folder import RunFolder


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    language = args.language
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        args.model, languages=[language], dtype=torch.float32
    ).to(args.device)
    processor = WhisperProcessor.from_pretrained(args.model)
    rows = read_rows(args, processor, model.config.max_target_positions)
    usage = measure_expert_usage(model, batches(rows, SpeechCollator(processor), args))
    exports = {
        way: export_to_whisper(
            model, language, {(side, i): decide(usage[f"{side} {i}"]) for side, i in model.routed_layers()}
        )
        for way, decide in WAYS.items()
    }
    about = {name: getattr(args, name) for name in ("model", "language", "data", "split", "num_beams", "max_rows")}
    folder = RunFolder(args.output_dir / "transcripts", {"run": about | {"weights": weights_digest(args.model)}})
    settings = {"batch_size": args.batch_size, "num_beams": args.num_beams}
    transcripts = {
        name: transcribe_rows(RecordFile(folder.folder / f"{name}.jsonl"), one, processor, rows, **settings)
        for name, one in {"routed": model, **exports}.items()
    }
    found = [{"": name, **compared(own, transcripts["routed"], args)} for name, own in transcripts.items()]
    best = min((row for row in found if row[""] in WAYS), key=lambda row: (row["WER"], row["WER against routed"]))[""]

    exports[best].save_pretrained(args.output_dir)
    save_processor(processor, args.output_dir)
    about |= {"rows": len(rows), "normalizer": args.normalizer, "way": best, "expert usage": usage, "scores": found}
    write_whole(args.output_dir / "export.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    print(f"\n{tabulate(found, headers='keys', floatfmt='.3f')}\n\nExported: {best}, to {args.output_dir}")


def compared(own: list[dict], routed: list[dict], args: argparse.Namespace) -> dict:
    """Errors against what was said, and against what the routed model heard."""
    heard = {record["id"]: record["hypothesis"] for record in own}
    said = [record["reference"] for record in routed]
    theirs = [record["hypothesis"] for record in routed]
    hypotheses = [heard[record["id"]] for record in routed]
    wer, distance = (
        count_errors(references, hypotheses, args.normalizer, args.language).rates()["wer"]
        for references in (said, theirs)
    )
    same = sum(a == b for a, b in zip(theirs, hypotheses, strict=True))
    return {"WER": wer, "WER against routed": distance, "same transcripts": f"{same} of {len(routed)}"}


def read_rows(args: argparse.Namespace, processor: WhisperProcessor, max_tokens: int):
    (source,) = parse_sources([args.data], [args.language])
    rows = source.read(args.split, args.language)
    rows, left_out = keep_usable(rows.select(range(min(args.max_rows or len(rows), len(rows)))), processor, max_tokens)
    told = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none"
    print(f"{source.name} {args.split} {args.language}: {len(rows)} rows; left out: {told}")
    if not len(rows):
        raise ValueError(f"No usable row in {args.data} {args.split} {args.language}: no gates to measure.")
    return rows


def batches(rows, collate: SpeechCollator, args: argparse.Namespace):
    for batch in tqdm(DataLoader(rows, batch_size=args.batch_size, collate_fn=collate), desc="Gates"):
        yield {name: value.to(args.device) for name, value in batch.items()}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or Hub id of a model with language experts")
    parser.add_argument("--language", required=True, help="code of the language to export")
    parser.add_argument("--data", required=True, help="[folder:|common_voice:|fleurs:|hub:]location[?setting=value]")
    parser.add_argument("--split", default="validation", choices=["train", "validation", "test"])
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--normalizer", default="marks", choices=list(NORMALIZERS))
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at a time")
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument("--max_rows", type=int, help="at most so many rows, for a try")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(with_new_flags(sys.argv[1:] if argv is None else argv))
    if (args.output_dir / "config.json").exists() or (args.output_dir / "export.json").exists():
        parser.error(f"{args.output_dir} holds a model already. Name another folder.")
    return args


if __name__ == "__main__":
    main()
