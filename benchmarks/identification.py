"""Which of some languages is spoken: a plain Whisper among all of its languages, among these, and by trained rows.

    python benchmarks/identification.py openai/whisper-base output ru fr es en --data "prompts=prompts/{language}" \
        --commit ... --result results/identification.json

Adds experts of rank 1 to the Whisper, which change nothing untrained, fits their detection rows to training
recordings, chosen by the loss on validation recordings, and scores test recordings with `distilwhisper eval
--identification`. Started again, it goes on.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_processor
from modeling_distilwhisper.runs.files import staged_folder, write_atomically

PLAIN, ROWS = "plain", "rows"
# Which rows of `eval`'s table are shown, by what the page calls them. Plain Whisper is the same in both models.
WAYS = {
    "Whisper's own, among all": (PLAIN, "whisper", "all"),
    "Whisper's own, among these": (PLAIN, "whisper", "candidates"),
    "trained rows, among all": (ROWS, "trained", "all"),
    "trained rows, among these": (ROWS, "trained", "candidates"),
}
LENGTHS = ("any", "under 2 s", "2 to 4 s", "4 to 8 s", "8 s and more")


def main() -> int:
    given = parse()
    started, output = time.perf_counter(), Path(given.output)
    if not (output / ROWS).is_dir():
        with staged_folder(output / ROWS) as folder:
            model = DistilWhisperForConditionalGeneration.from_whisper(given.whisper, given.languages, expert_rank=1)
            model.save_pretrained(folder)
            load_processor(given.whisper).save_pretrained(folder)
    common = ["--data", given.data, "--languages", *given.languages]
    if not model_has_rows(output / ROWS):
        start("fit-detection", "--model", output / ROWS, *common, "--max_rows", given.max_rows, "--batch_size", 8)
    models = [f"{PLAIN}={given.whisper}", f"{ROWS}={output / ROWS}"]
    start("eval", "--models", *models, *common, "--identification", "only", "--output_dir", output / "scores")
    summary = json.loads((output / "scores/summary.json").read_text(encoding="utf-8"))
    content = {
        "title": "Which of some languages is spoken",
        "commit": given.commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "settings": {
            "command": "benchmarks/identification.py",
            "whisper": Path(given.whisper).name,
            "languages": given.languages,
            "training recordings a language": given.max_rows,
        },
        "facts": {"training recordings a language": given.max_rows},
        "tables": {"accuracy": accuracy(summary["identification"]), "confusion": confusion(summary["confusion"])},
    }
    write_atomically(given.result, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


def accuracy(rows: list[dict]) -> dict:
    """A row for each way, a column for each length."""
    lengths = [length for length in LENGTHS if any(row["length"] == length for row in rows)]
    counts = {row["length"]: row["n"] for row in rows}
    columns = [{"title": ""}]
    columns += [{"title": f"{length.replace('any', 'all')} ({counts[length]})", "digits": 3} for length in lengths]
    table = []
    for name, way in WAYS.items():
        found = {row["length"]: row for row in rows if (row["system"], row["detection"], row["among"]) == way}
        cells = [[found[length][key] for key in ("accuracy", "low", "high")] for length in lengths]
        table.append([name, *cells])
    return {"columns": columns, "rows": table}


def confusion(rows: list[dict]) -> dict:
    """What each language was taken for."""
    taken = [key for key in rows[0] if key.startswith("as ")]
    columns = [{"title": ""}, {"title": "spoken"}, *({"title": key} for key in taken)]
    table = []
    for name, way in WAYS.items():
        found = [row for row in rows if (row["system"], row["detection"], row["among"]) == way]
        table += [
            ["" if number else name, row["spoken"], *(row[key] for key in taken)] for number, row in enumerate(found)
        ]
    return {"columns": columns, "rows": table}


def model_has_rows(folder: Path) -> bool:
    """Whether an earlier start has fitted them."""
    return bool(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("detection_languages"))


def start(*command) -> None:
    """Runs a command of `distilwhisper`."""
    subprocess.run([sys.executable, "-m", "modeling_distilwhisper", *map(str, command)], check=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whisper", help="folder or Hub id of a plain Whisper")
    parser.add_argument("output", help="folder of all that it writes")
    parser.add_argument("languages", nargs="+", help="codes")
    parser.add_argument("--data", required=True, help="corpus, as for the commands")
    parser.add_argument("--max_rows", type=int, default=48, help="training recordings of each language")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--result", required=True, help="JSON file for `results/`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
