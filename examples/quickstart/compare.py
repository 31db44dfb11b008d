"""Table 6 of the report in small: student, teacher, full fine-tuning, LoRA, CLSR-FT and DistilWhisper on the same rows.

    python examples/quickstart/compare.py [folder for the runs]

Every system is a run of `examples/run_distil.py`: one that is finished is not made again, one that was killed goes on.
After a change of data or models, name another folder.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean

from tabulate import tabulate

from modeling_distilwhisper.evaluation import wer_rows
from modeling_distilwhisper.figures import draw_wer

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = "examples/quickstart/quickstart.yaml"
SYSTEMS = {
    "full fine-tuning": ["--method", "finetune", "--teacher=", "--score_teacher", "false", "--learning_rate", "5e-4"],
    "LoRA r=32": ["--method", "lora", "--teacher=", "--score_teacher", "false"],
    "CLSR-FT": ["--teacher=", "--score_teacher", "false"],
    "DistilWhisper": [],
}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart-comparison").resolve()
    runs = {system: train(flags, folder / system.replace(" ", "-")) for system, flags in SYSTEMS.items()}
    untrained = runs["DistilWhisper"]["scores"]
    scores = {"student": untrained["before"], "teacher": untrained["teacher"]}
    scores |= {system: results["scores"]["after"] for system, results in runs.items()}
    rows = wer_rows(scores)
    trained = runs["DistilWhisper"]["settings"]["model"]["languages"]
    table = [
        {"WER, mean over languages": system}
        | means(rows, trained, system)
        | {"training, minutes": runs[system]["training"]["train_runtime"] / 60 if system in runs else None}
        for system in scores
    ]
    text = tabulate(table, headers="keys", floatfmt=[".3f"] * 5 + [".1f"], missingval="-", tablefmt="github")
    each = tabulate(rows, headers="keys", floatfmt=".3f", tablefmt="github")
    (folder / "comparison.md").write_text(f"{text}\n\n{each}\n", encoding="utf-8")
    draw_wer(rows, list(scores), folder / "comparison.png")
    print(f"\n{each}\n\n{text}\n\nAlso: {folder}/comparison.md, {folder}/comparison.png")


def train(flags: list[str], output: Path) -> dict:
    """The results of a run."""
    print(f"\n{output.name}", flush=True)
    command = [sys.executable, "examples/run_distil.py", SETTINGS, *flags, "--output_dir", str(output)]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    return json.loads((output / "results.json").read_text(encoding="utf-8"))


def means(rows: Iterable[Mapping], trained: list[str], system: str) -> dict[str, float]:
    """The system's WER by test set, over the languages that were trained and over those that were not."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        kind = "trained" if row["language"] in trained else "other languages"
        groups.setdefault(f"{kind}, {row['test set']}", []).append(row[system])
    return {name: mean(values) for name, values in groups.items()}


if __name__ == "__main__":
    main()
