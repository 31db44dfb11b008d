"""Shows a table of the report, with our WER next to the report's where a run has measured it.

    python examples/paper/reproduce.py 6                        # the report's value / ours, or a dash
    python examples/paper/reproduce.py 6 --train --languages gl # first trains the missing runs of each row
    python examples/paper/reproduce.py 8 --gates soft           # ours with the report's gates, not with hard ones

A second table has the share of the gap between whisper-small and whisper-large-v2 that each trained row closes. Table 8
has the means over classes of languages too, and Table 6 the parameters, which are counted. Each row has a settings
file, and rows with gates another one for soft gates, in soft/. The data are Common Voice 13, in
cv-corpus-13.0-2023-03-09 (README.md in this folder), and FLEURS, from the Hub. report.csv holds the report's figures:
WER in %, with the number of their table.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tabulate import tabulate

from modeling_distilwhisper.evaluation.languages import RESOURCE_CLASSES, resource_class
from modeling_distilwhisper.runs.extras import MissingLibraryError
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
SOFT = "-soft"  # ends the names of runs with soft gates
WITHOUT_GATES = ("FT", "LoRA-FT r=32", "LoRA-FT r=64")
TABLES = range(6, 13)
GATES = ("hard", "soft")
SYSTEM = {"data_set": "data set", "domain": "domain", "model": "model", "train_data": "trained on"}

Wers = dict[str, float]  # in %, by language; "avg" is the average over languages as it is printed
Values = Mapping[str, float | None]  # by column


@dataclass
class Row:
    """A system on a data set: the report's WER and ours, by language. Ours may lack some languages."""

    system: dict[str, str]
    report: Wers
    ours: Wers

    @property
    def languages(self) -> frozenset[str]:
        return frozenset(self.report.keys() - {"avg"})

    def cells(self, report: Values, ours: Values) -> dict[str, str]:
        """The row of a table: "the report's value / ours" in each column of the report."""
        return self.system | {name: f"{digits(value)} / {digits(ours.get(name))}" for name, value in report.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=int, choices=TABLES)
    parser.add_argument("--runs", type=Path, default=Path("paper"), help="folder of the runs")
    parser.add_argument("--gates", choices=GATES, default="hard", help="soft: runs with the report's gates")
    parser.add_argument("--train", action="store_true", help="train the runs that are missing")
    parser.add_argument("--languages", nargs="*", default=(), help="train only these")
    arguments = parser.parse_args()
    lines = read_report(arguments.table)
    if arguments.train:
        for name, language in sorted(needed(lines, arguments.gates)):
            if not arguments.languages or language in arguments.languages:
                train(name, language, arguments.runs)
    for title, table in tables(arguments.table, arguments.runs, arguments.gates).items():
        print(f"{title}\n\n{table}\n")


def tables(number: int, runs: Path, gates: str = "hard") -> dict[str, str]:
    """The tables to print, by title."""
    rows = rows_of(read_report(number), runs, gates)
    shown = {f"WER in %, the report / ours ({gates} gates)": compare(rows)}
    if number == 8:
        shown["WER in %, means over languages of a class (Table 3), the report / ours"] = by_class(rows)
    title = "Share in % of the gap from whisper-small to whisper-large-v2 that is closed, the report / ours"
    shown[title] = gap_shares(rows, untrained_rows(runs), with_classes=number == 8)
    printed = {title: tabulate(table, headers="keys", tablefmt="github") for title, table in shown.items()}
    if number == 6:
        import parameters  # here alone: it loads the classes of models, which takes seconds

        try:
            printed["Parameters of the models, counted"] = parameters.table()
        except MissingLibraryError as error:
            printed["Parameters of the models, counted"] = f"None: {error}"
    return printed


def read_report(table: int) -> list[dict[str, str]]:
    with open(FOLDER / "report.csv", newline="", encoding="utf-8") as file:
        return [line for line in csv.DictReader(file) if int(line["table"]) == table]


def settings_of(line: Mapping[str, str], gates: str = "hard") -> str | None:
    """The name of the runs of a line of the report; `None` for a model that was not trained."""
    if line["model"] in UNTRAINED:
        return None
    name = f"{line['train_data']}-{SETTINGS[line['model']]}"
    return name if gates == "hard" or line["model"] in WITHOUT_GATES else f"{name}{SOFT}"


def settings_file(name: str) -> Path:
    """The settings of runs of this name."""
    folder = FOLDER / "soft" if name.endswith(SOFT) else FOLDER
    return folder / f"{name.removesuffix(SOFT)}.yaml"


def needed(lines: Iterable[Mapping[str, str]], gates: str = "hard") -> set[tuple[str, str]]:
    """Name and language of the run that each line needs."""
    names = ((settings_of(line, gates), line["language"]) for line in lines if line["language"] != "avg")
    return {(name, language) for name, language in names if name}


def train(name: str, language: str, runs: Path) -> None:
    """Trains one language, like the report. A finished run is not trained again."""
    script = [sys.executable, str(FOLDER.parent / "run_distil.py"), str(settings_file(name))]
    subprocess.run([*script, "--languages", language, "--output_dir", str(runs / name / language)], check=True)


def our_wer(line: Mapping[str, str], runs: Path, gates: str) -> float | None:
    """Our WER in %, of a trained model, or of an untrained one from any run that has scored it."""
    name, language = settings_of(line, gates), line["language"]
    system = UNTRAINED.get(line["model"], "after")
    for path in sorted(runs.glob(f"{name or '*'}/{language}/results.json")):
        scores = RunResults.read(path).scores
        rates = scores.get(system, {}).get(line["data_set"], {}).get(language)
        if rates is not None and rates["normalizer"] == "report":
            return 100 * rates["wer"]
    return None


def rows_of(lines: Iterable[Mapping[str, str]], runs: Path, gates: str = "hard") -> list[Row]:
    """A row for each system, training data and data set."""
    rows: dict[tuple, Row] = {}
    for line in lines:
        system = {title: line[name] for name, title in SYSTEM.items()}
        row = rows.setdefault(tuple(system.values()), Row(system, {}, {}))
        row.report[line["language"]] = float(line["wer"])
        if line["language"] != "avg" and (wer := our_wer(line, runs, gates)) is not None:
            row.ours[line["language"]] = wer
    return list(rows.values())


def compare(rows: Iterable[Row]) -> list[dict[str, str]]:
    """WER by language, and the average where the report prints it."""
    return [row.cells(row.report, row.ours | {"avg": mean_over(row.languages, row.ours)}) for row in rows]


def by_class(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Mean WER of the languages of each class."""
    return [row.cells(class_means(row, row.report), class_means(row, row.ours)) for row in rows]


def class_means(row: Row, wers: Wers) -> Values:
    """The mean over the row's languages of each class of the report's Table 3."""
    members = {name: [code for code in row.languages if resource_class(code) == name] for name in RESOURCE_CLASSES}
    return {name: mean_over(codes, wers) for name, codes in members.items() if codes}


def mean_over(languages: Collection[str], wers: Wers) -> float | None:
    """The mean over languages; `None` if one of them is missing: means over others would not be comparable."""
    return mean(wers[language] for language in languages) if languages and set(languages) <= wers.keys() else None


def untrained_rows(runs: Path) -> dict[tuple, Row]:
    """The rows of untrained models, by model, data set and languages. Tables 9 and 10 do not repeat them."""
    rows = {}
    for number in TABLES:
        lines = [line for line in read_report(number) if line["model"] in UNTRAINED]
        for row in rows_of(lines, runs):
            rows[row.system["model"], row.system["data set"], row.languages] = row
    return rows


def gap_shares(rows: Iterable[Row], untrained: Mapping[tuple, Row], *, with_classes: bool) -> list[dict[str, str]]:
    """(WER of small - WER) / (WER of small - WER of large) of each trained row, in %: of averages, and of classes.

    The report's shares come from its averages as they are printed (39 % in section 5.3, 75.8 % and 35.8 % in 5.4).
    """
    table = []
    for row in rows:
        if row.system["model"] in UNTRAINED:
            continue
        small, large = (untrained[model, row.system["data set"], row.languages] for model in UNTRAINED)
        report, ours = (
            [columns(one, getattr(one, whose), with_classes) for one in (small, row, large)]
            for whose in ("report", "ours")
        )
        table.append(row.cells(shares(*report), shares(*ours)))
    return table


def columns(row: Row, wers: Wers, with_classes: bool) -> Values:
    """The average, as it is printed or else over the languages, and the means of classes."""
    average = wers.get("avg", mean_over(row.languages, wers))
    return {"avg": average} | (class_means(row, wers) if with_classes else {})


def shares(small: Values, row: Values, large: Values) -> Values:
    """The share of the gap in each column; `None` where a value is missing or there is no gap."""
    closed: dict[str, float | None] = {}
    for name, start in small.items():
        wer, end = row[name], large[name]
        is_known = start is not None and wer is not None and end is not None and start > end
        closed[name] = 100 * (start - wer) / (start - end) if is_known else None
    return closed


def digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
