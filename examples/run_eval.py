"""Score any Whisper: plain, with LoRA, or with language experts; several models at once, on the same speech.

    python examples/run_eval.py --models openai/whisper-small --data recordings/{language} --languages gl \
        --output_dir scores
    python examples/run_eval.py --models small=openai/whisper-small ours=distilwhisper-small-gl \
        --data common_voice:cv-corpus-13.0-2023-03-09 fleurs:google/fleurs --languages gl ca \
        --compare ours small --output_dir scores

Writes the transcripts of each model, and scores.json. If it is started again, it transcribes only what is missing.
`distilwhisper eval` has these flags too. It also scores translations and means of groups of languages, and refuses a
folder with transcripts by other settings.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path

from tabulate import tabulate

from modeling_distilwhisper import (
    compare_errors,
    count_errors,
    keep_scorable,
    load_model,
    load_processor,
    parse_sources,
    transcribe_rows,
)
from modeling_distilwhisper.commands.command_line import DEVICE, command, make_parser
from modeling_distilwhisper.runs.any_whisper import name_models
from modeling_distilwhisper.runs.precision import PRECISIONS
from modeling_distilwhisper.runs.records import RecordFile


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    sources = parse_sources(arguments.data, arguments.languages)
    scores, counts = [], {}

    for name, location in name_models(arguments.models).items():
        model, processor = load_model(location, arguments.precision, arguments.device), load_processor(location)
        for source, split, language in product(sources, arguments.splits, arguments.languages):
            # Rows with audio, text and language. Those without text or with unreadable audio are left out and counted.
            rows = source.read(split, language)
            rows, left_out = keep_scorable(rows.select(range(min(len(rows), arguments.max_rows or len(rows)))))
            cell = {"data_set": source.name, "split": split, "language": language}

            # Transcripts are added to a file as they come.
            file = RecordFile(arguments.output_dir / name / f"{source.name}.{split}.{language}.jsonl")
            decoding = {"batch_size": arguments.batch_size, "num_beams": arguments.num_beams}
            records = transcribe_rows(file, model, processor, rows, **decoding)
            records.sort(key=lambda record: record["id"])  # the same order for every model

            # Errors of each utterance. From them come the rates and their 95 % interval.
            references, hypotheses = ([record[side] for record in records] for side in ("reference", "hypothesis"))
            errors = count_errors(references, hypotheses, arguments.normalizer, language)
            counts[name, source.name, split, language] = errors
            low, high = errors.wer_interval() or (None, None)
            rates = {"wer": errors.rates()["wer"], "low": low, "high": high, "cer": errors.rates()["cer"]}
            rates |= {"unit": errors.unit, "normalizer": errors.normalizer}
            scores.append({"system": name, **cell, **rates, "utterances": len(errors), "left out": left_out.total()})

    print(tabulate(scores, headers="keys", floatfmt=".3f"))
    arguments.output_dir.joinpath("scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")

    # Does the first model differ from the others? A paired bootstrap over the utterances.
    for other in arguments.compare[1:]:
        for source, split, language in product(sources, arguments.splits, arguments.languages):
            first, second = (counts[name, source.name, split, language] for name in (arguments.compare[0], other))
            difference = compare_errors(first, second)
            verdict = "beyond chance" if difference.is_real else "may be chance"
            interval = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
            print(f"{arguments.compare[0]} - {other}, {source.name} {split} {language}: ", end="")
            print(f"{difference.wer:+.3f} {interval}, {verdict}")


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("--models", nargs="+", required=True, help="folders or Hub ids, with or without name= in front")
    parser.add_argument("--data", nargs="+", required=True, help="corpora, such as recordings/{language}")
    parser.add_argument("--languages", nargs="+", required=True, help="Whisper's codes, such as gl ca")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of transcripts and scores")
    parser.add_argument("--splits", nargs="+", default=["test"], help="train, validation or test")
    parser.add_argument("--normalizer", default="marks", help="normaliser of the scores: marks or report")
    parser.add_argument(
        "--compare", nargs="+", default=[], help="names of models: the first against each of the others"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at a time")
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="precision of the models")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    parser.add_argument("--max_rows", type=int, help="at most this many rows of each corpus, split and language")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
