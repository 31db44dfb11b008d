"""Shows a table of the report, with our WER next to the report's where a run has measured it.

    python examples/paper/reproduce.py 6                        # the report's value / ours, or a dash
    python examples/paper/reproduce.py 6 --train --languages gl # first trains the missing runs of each row

Each row has a settings file. The data are Common Voice 13, in cv-corpus-13.0-2023-03-09 (README.md in this folder), and
FLEURS, from the Hub. report.csv holds the report's figures: WER in %, with the number of their table.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from statistics import mean

from tabulate import tabulate

from modeling_distilwhisper.runs.results import RunResults

FOLDER = Path(__file__).parent
SETTINGS = {
    "FT": "ft",
    "LoRA-FT r=32": "lora32",
    "LoRA-FT r=64": "lora64",
    "CLSR-FT": "clsr-ft",
    "DistilWhisper": "distilwhisper",
    "DistilWhisper JS tau=1": "distilwhisper",
    "DistilWhisper JS tau=3": "distilwhisper-js-t3",
    "DistilWhisper KL tau=1": "distilwhisper-kl-t1",
    "DistilWhisper KL tau=3": "distilwhisper-kl-t3",
}
UNTRAINED = {"whisper-small": "before", "whisper-large-v2": "teacher"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=int, choices=range(6, 13))
    parser.add_argument("--runs", type=Path, default=Path("paper"), help="folder of the runs")
    parser.add_argument("--train", action="store_true", help="train the runs that are missing")
    parser.add_argument("--languages", nargs="*", default=(), help="train only these")
    arguments = parser.parse_args()
    lines = read_report(arguments.table)
    if arguments.train:
        for name, language in sorted(needed(lines)):
            if not arguments.languages or language in arguments.languages:
                train(name, language, arguments.runs)
    print(tabulate(compare(lines, arguments.runs), headers="keys", tablefmt="github"))


def read_report(table: int) -> list[dict[str, str]]:
    with open(FOLDER / "report.csv", newline="", encoding="utf-8") as file:
        return [line for line in csv.DictReader(file) if int(line["table"]) == table]


def settings_of(line: dict[str, str]) -> str | None:
    """The settings file of a line of the report, by name; `None` for a model that was not trained."""
    return None if line["model"] in UNTRAINED else f"{line['train_data']}-{SETTINGS[line['model']]}"


def needed(lines: list[dict[str, str]]) -> set[tuple[str, str]]:
    """Settings and language of the run that each line needs."""
    return {(name, line["language"]) for line in lines if line["language"] != "avg" and (name := settings_of(line))}


def train(name: str, language: str, runs: Path) -> None:
    """Trains one language, like the report. A finished run is not trained again."""
    script = [sys.executable, str(FOLDER.parent / "run_distil.py"), str(FOLDER / f"{name}.yaml")]
    subprocess.run([*script, "--languages", language, "--output_dir", str(runs / name / language)], check=True)


def ours(line: dict[str, str], language: str, runs: Path) -> float | None:
    """Our WER in %, of a trained model, or of an untrained one from any run that has scored it."""
    name = settings_of(line)
    system = UNTRAINED.get(line["model"], "after")
    for path in sorted(runs.glob(f"{name or '*'}/{language}/results.json")):
        scores = RunResults.read(path).scores
        rates = scores.get(system, {}).get(line["data_set"], {}).get(language)
        if rates is not None and rates["normalizer"] == "report":
            return 100 * rates["wer"]
    return None


def compare(lines: list[dict[str, str]], runs: Path) -> list[dict[str, str]]:
    """A row for each system, training data and data set, a column for each language: the report's value / ours."""
    rows: dict[tuple, dict[str, dict[str, str]]] = {}
    for line in lines:
        system = tuple(line[name] for name in ("data_set", "domain", "model", "train_data"))
        rows.setdefault(system, {})[line["language"]] = line
    table = []
    for system, cells in rows.items():
        our_wers = {language: ours(line, language, runs) for language, line in cells.items() if language != "avg"}
        if "avg" in cells:
            our_wers["avg"] = mean(our_wers.values()) if None not in our_wers.values() else None
        row = dict(zip(("data set", "domain", "model", "trained on"), system, strict=True))
        for language, line in cells.items():
            our_wer = "–" if our_wers[language] is None else f"{our_wers[language]:.1f}"
            row[language] = f"{line['wer']} / {our_wer}"
        table.append(row)
    return table


if __name__ == "__main__":
    main()
