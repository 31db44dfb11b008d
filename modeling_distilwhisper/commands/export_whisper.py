"""Export one language of a DistilWhisper as a plain Whisper, for faster-whisper, whisper.cpp and other Whisper tools.

    distilwhisper export distilwhisper-base-ru --language ru --data "prompts/{language}" --output_dir whisper-base-ru
    ct2-transformers-converter --model whisper-base-ru --output_dir whisper-base-ru-ct2 \
        --copy_files tokenizer.json preprocessor_config.json    # for faster-whisper

A plain Whisper cannot choose a path for each token, so the path of each layer is fixed by how its gates route the
tokens of the given audio. Three ways are tried: the expert if the majority of tokens takes it ("majority"), a mean of
both paths' weights by their shares ("mean"), experts in all layers ("experts"). The one with the lowest WER on that
audio is exported; among equal ones, the nearest to the routed model. export.json holds the scores of all three. Score
the export on a test set with `distilwhisper eval`.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from tabulate import tabulate
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from ..data.collate import SpeechCollator
from ..data.selection import Selection, read_rows
from ..data.sources import SPEC_FORM, parse_sources
from ..evaluation.gates import batches_of, measure_expert_usage
from ..evaluation.metrics import count_errors
from ..evaluation.normalization import NORMALIZERS
from ..evaluation.transcription import transcribe_rows
from ..export.whisper import WAYS, code_in_export, export_to_whisper, save_processor
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..names_distilwhisper import hide_paths, public_name
from ..runs.any_whisper import load_processor, weights_digest
from ..runs.files import staged_folder, write_atomically
from ..runs.records import RecordFile
from ..runs.run_folder import RunFolder
from .command_line import DEVICE, command, make_parser


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        arguments.model, languages=[arguments.language], dtype=torch.float32
    ).to(arguments.device)
    processor = load_processor(arguments.model)
    (source,) = parse_sources([arguments.data], [arguments.language])
    selection = read_rows(
        source,
        arguments.split,
        arguments.language,
        max_rows=arguments.max_rows,
        processor=processor,
        max_tokens=model.config.max_target_positions,
        purpose="measure gates on",
    )
    print(selection)
    batches = batches_of(selection.rows, SpeechCollator(processor), arguments.batch_size, arguments.device)
    usage = measure_expert_usage(model, batches)
    exports = make_exports(model, arguments.language, usage, arguments.as_language)
    settings = {
        name: getattr(arguments, name) for name in ("model", "language", "data", "split", "num_beams", "max_rows")
    }
    transcripts = transcribe_all({"routed": model, **exports}, processor, selection, settings, arguments)
    code = code_in_export(model, arguments.language, arguments.as_language)
    scores = [
        {"": name, **compare_with_routed(records, transcripts["routed"], arguments)}
        for name, records in transcripts.items()
    ]
    best = min((row for row in scores if row[""] in WAYS), key=lambda row: (row["WER"], row["WER against routed"]))[""]

    with staged_folder(arguments.output_dir) as staged:
        exports[best].save_pretrained(staged)
        save_processor(processor, staged, model.config.vocab_size)
        hide_paths(staged)
    content = settings | {"model": public_name(arguments.model), "data": source.name}
    content |= {
        "rows": len(selection.rows),
        "normalizer": NORMALIZERS[arguments.normalizer].name,
        "way": best,
        "language token": code,
    }
    content |= {"expert usage": usage, "scores": scores}
    write_atomically(arguments.output_dir / "export.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"\n{tabulate(scores, headers='keys', floatfmt='.3f')}\n\nExported: {best}, to {arguments.output_dir}")
    if code != arguments.language:
        print(f"Whisper has no token for {arguments.language}: ask the export for {code}, whose token it has taken.")


def make_exports(
    model: DistilWhisperForConditionalGeneration,
    language: str,
    usage: dict[str, float],
    as_language: str | None = None,
) -> dict[str, WhisperForConditionalGeneration]:
    """A plain Whisper for each way to fix the layers' paths.

    Args:
        usage: the share of tokens that takes the expert, by side and layer ("encoder 0"), of `measure_expert_usage`.
    """
    exports = {}
    for way, share_of_expert in WAYS.items():
        shares = {(side, layer): share_of_expert(usage[f"{side} {layer}"]) for side, layer in model.routed_layers()}
        exports[way] = export_to_whisper(model, language, shares, as_language)
    return exports


def transcribe_all(
    models: dict[str, WhisperForConditionalGeneration],
    processor: WhisperProcessor,
    selection: Selection,
    settings: dict,
    arguments: argparse.Namespace,
) -> dict[str, list[dict]]:
    """Transcripts by each model, kept below the output folder, where an interrupted command continues."""
    folder = RunFolder(
        arguments.output_dir / "transcripts", {"run": settings | {"weights": weights_digest(arguments.model)}}
    )
    generation = {"batch_size": arguments.batch_size, "num_beams": arguments.num_beams}
    code = code_in_export(models["routed"], arguments.language, arguments.as_language)
    transcripts = {}
    for name, model in models.items():
        rows = selection.rows
        if name != "routed" and code != arguments.language:
            rows = rows.remove_columns("language").add_column("language", [code] * len(rows))
        file = RecordFile(folder.folder / f"{name}.jsonl")
        transcripts[name] = transcribe_rows(file, model, processor, rows, **generation)
    return transcripts


def compare_with_routed(records: list[dict], routed: list[dict], arguments: argparse.Namespace) -> dict:
    """The WER of a model's transcripts against the references, and against the transcripts of the routed model."""
    transcripts = {record["id"]: record["hypothesis"] for record in records}
    hypotheses = [transcripts[record["id"]] for record in routed]
    by_routed = [record["hypothesis"] for record in routed]
    wer, distance = (
        count_errors(references, hypotheses, arguments.normalizer, arguments.language).rates()["wer"]
        for references in ([record["reference"] for record in routed], by_routed)
    )
    same = sum(a == b for a, b in zip(by_routed, hypotheses, strict=True))
    return {"WER": wer, "WER against routed": distance, "same transcripts": f"{same} of {len(routed)}"}


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("model", help="folder or Hub id of a model with language experts")
    parser.add_argument("--language", required=True, help="code of the language to export")
    parser.add_argument(
        "--as_language", help="whose token a language takes that Whisper has none for; by default its relative's"
    )
    parser.add_argument("--data", required=True, help=SPEC_FORM)
    parser.add_argument("--split", default="validation", choices=["train", "validation", "test"], help="of --data")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the exported model")
    parser.add_argument("--normalizer", default="marks", choices=list(NORMALIZERS), help="of the scores")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at a time")
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument("--max_rows", type=int, help="at most this many rows, for a try")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    arguments = parser.parse_args(argv)
    if (arguments.output_dir / "config.json").exists() or (arguments.output_dir / "export.json").exists():
        parser.error(f"{arguments.output_dir} holds a model already. Name another folder.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
