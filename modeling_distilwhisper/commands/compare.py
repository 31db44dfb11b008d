"""The report's main comparison (its Table 6) on any data: one student, taught in several ways from the same rows.

    python examples/compare.py examples/quickstart/compare.yaml
    python examples/compare.py examples/configs/compare_prompts_ru.yaml

The file names the settings of `run_distil.py` that all systems share, and what each has of its own. Every system is a
run of that script, and `run_eval.py` scores them all: what is finished is not made again, what was killed goes on.
After a change of the data behind the same names, name another folder. The minutes are those of a system's last start,
scoring between its steps included.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import yaml
from tabulate import tabulate
from transformers.hf_argparser import string_to_bool

from ..reporting.figures import draw_wer
from ..runs.files import file_name, write_whole
from ..runs.old_names import read_json
from ..runs.settings import read_settings, split_name

LISTS = ("data", "test_data", "languages", "test_languages")  # one alone may stand without brackets
GIVEN = ("student", "teacher", "student_precision")
TAKEN = ("student", "teacher", "scores")  # by the untrained models, and by a folder beside the systems'


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, help="a file such as examples/quickstart/compare.yaml")
    for name in ("output_dir", *GIVEN):
        parser.add_argument(f"--{name}", help="in place of the file's")
    arguments = parser.parse_args(argv)
    comparison = as_lists(read_settings(arguments.comparison))
    given = {name: value for name in GIVEN if (value := getattr(arguments, name))}
    shared = without_blanks(
        as_lists(read_settings(comparison["settings"])) | as_lists(comparison.get("shared", {})) | given
    )
    check(comparison["systems"])
    folder = Path(arguments.output_dir or comparison["output_dir"])
    folder.mkdir(parents=True, exist_ok=True)

    systems, minutes = {"student": shared["student"]}, {}
    if shared.get("teacher", shared["student"]) != shared["student"]:
        systems["teacher"] = shared["teacher"]
    for system, own in comparison["systems"].items():
        systems[system] = output = str(folder / file_name(system))
        run("train", Path(f"{output}.yaml"), without_blanks({**shared, **own, "output_dir": output}))
        results = read_json(Path(output, "results.json"))
        minutes[system] = results["training"]["train_runtime"] / 60
    ours, normalizer = list(systems)[-1], shared.get("normalizer", "marks")
    evaluation = {
        "models": [f"{system}={location}" for system, location in systems.items()],
        "data": shared["data"] + shared.get("test_data", []),
        "languages": shared["languages"] + shared.get("test_languages", []),
        "normalizer": normalizer,
        "batch_size": shared.get("per_device_eval_batch_size", 16),
        "precision": shared.get("student_precision", "float32"),
        "compare": [ours, *(system for system in systems if system != ours)],
        "output_dir": str(folder / "scores"),
    }
    evaluation |= {"max_rows": shared["max_rows"]} if "max_rows" in shared else {}
    evaluation |= {"device": "cpu"} if string_to_bool(shared.get("use_cpu", "false")) else {}
    run("evaluate", folder / "scores.yaml", evaluation)

    scores = read_json(folder / "scores/summary.json")["scores"]
    draw_wer(side_by_side(scores), list(systems), folder / "wer.png")
    means = [
        {f"WER ({normalizer}), mean over languages": system}
        | mean_wers(scores, shared["languages"], system)
        | {"training, minutes": minutes.get(system)}
        for system in systems
    ]
    formats = [".3f"] * (len(means[0]) - 1) + [".1f"]
    table = tabulate(means, headers="keys", floatfmt=formats, missingval="-", tablefmt="github")
    write_whole(folder / "means.md", f"{table}\n")
    print(f"\n{table}\n\nAlso: {folder}/means.md, {folder}/wer.png and, with intervals, {folder}/scores/summary.md")


def check(systems: Iterable[str]) -> None:
    """Before anything is trained: every system's name must do as the name of a model and of a folder."""
    names = [*TAKEN, *map(file_name, systems)]
    if len(set(names)) < len(names) or any(split_name(f"{system}=x")[0] != system for system in systems):
        raise ValueError(
            f"Systems must have names of their own, not {', '.join(TAKEN)}, without = : / or ?; got {list(systems)}."
        )


def as_lists(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {name: [own] for name in LISTS if isinstance(own := settings.get(name), str)}


def without_blanks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is left where `teacher: ""` took the teacher of the shared settings away."""
    return {name: value for name, value in settings.items() if value not in ("", None)}


def run(command: str, file: Path, settings: Mapping[str, Any]) -> None:
    """Runs another command with the settings, written to a file to be looked at."""
    write_whole(file, yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))
    print(f"\n{command} {file}", flush=True)
    subprocess.run([sys.executable, "-m", f"{__package__}.{command}", str(file)], check=True)


def side_by_side(scores: Iterable[Mapping]) -> list[dict]:
    """A row for each data set and language, with the WER of every system."""
    rows: dict[tuple[str, str], dict] = {}
    for score in scores:
        about = {"test set": score["data_set"], **{name: score[name] for name in ("language", "words", "normalizer")}}
        rows.setdefault((score["data_set"], score["language"]), about)[score["system"]] = score["wer"]
    return list(rows.values())


def mean_wers(scores: Iterable[Mapping], trained: list[str], system: str) -> dict[str, float]:
    """The system's WER by data set, over the languages that were trained and over those that were not."""
    groups: dict[str, list[float]] = {}
    for score in scores:
        if score["system"] == system:
            kind = "trained" if score["language"] in trained else "other languages"
            groups.setdefault(f"{kind}, {score['data_set']}", []).append(score["wer"])
    return {name: mean(values) for name, values in groups.items()}


if __name__ == "__main__":
    main()
