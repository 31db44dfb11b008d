"""Train one student in several ways on the same rows, and compare the scores: the report's Table 6, on any data.

    distilwhisper compare examples/quickstart/compare.yaml
    distilwhisper compare examples/configs/compare_prompts_ru.yaml

The file names a file of settings that all systems share, and the settings of each system. Every system is a run of
`distilwhisper train`, and `distilwhisper eval` scores them all. A finished system is not trained again, and an
interrupted one continues. If the data behind a name changes, name another folder. The minutes are those of the last
start of a system, with the scoring between its steps.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import yaml
from transformers.hf_argparser import string_to_bool

from ..data.language_codes import chosen_languages
from ..reporting.markdown import table_of
from ..runs.files import file_name, write_atomically
from ..runs.forms import check_form
from ..runs.lock import hold
from ..runs.old_names import read_json
from ..runs.results import SUMMARY, RunResults
from ..runs.settings import split_name
from ..runs.settings_file import read_settings
from .command_line import command, import_figures, make_parser

LISTS = ("data", "test_data", "languages", "test_languages")  # a single value needs no brackets
OVERRIDES = ("student", "teacher", "student_precision")  # flags that replace the file's settings
# A line of a file for each setting that it must have.
EXPECTED = {
    "settings": "settings: run.yaml",
    "systems": "systems: {LoRA: {method: lora}, DistilWhisper: {}}",
    "student": "student: openai/whisper-small",
    "data": "data: recordings/{language}",
    "languages": "languages: [gl, ca]",
}
RESERVED = ("student", "teacher", "scores")  # names of the untrained models, and of the folder of scores

Settings = dict[str, Any]


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    comparison, shared = read_comparison(arguments)
    folder = Path(arguments.output_dir or comparison["output_dir"])
    hold(folder)
    models = {"student": shared["student"]}  # by name: folder or Hub id
    if shared.get("teacher", shared["student"]) != shared["student"]:
        models["teacher"] = shared["teacher"]
    minutes = {}
    for system, settings in comparison["systems"].items():
        models[system] = output = str(folder / file_name(system))
        run("train", Path(f"{output}.yaml"), without_blanks({**shared, **settings, "output_dir": output}))
        training = RunResults.read(output).training
        check_form(training, {"train_runtime": float}, f"{output}: training")
        minutes[system] = training["train_runtime"] / 60
    run("eval", folder / "scores.yaml", evaluation_of(models, shared, folder))
    report(models, shared, minutes, folder)


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("comparison", type=Path, help="a file such as examples/quickstart/compare.yaml")
    parser.add_argument("--output_dir", help="folder for the systems and their scores; by default the file's")
    for name in OVERRIDES:
        parser.add_argument(f"--{name}", help="replaces the file's")
    return parser.parse_args(argv)


def read_comparison(arguments: argparse.Namespace) -> tuple[Settings, Settings]:
    """The comparison in a file, and the settings of training that its systems share.

    Raises:
        ValueError: a setting is missing, or a system's name cannot name a model or a folder.
    """
    comparison = as_lists(read_settings(arguments.comparison))
    require_settings(arguments.comparison, comparison, "settings", "systems")
    comparison.setdefault("shared", {})
    check_form(comparison, {"settings": str, "systems": {str: dict | None}, "shared": dict}, str(arguments.comparison))
    comparison["systems"] = {name: settings or {} for name, settings in comparison["systems"].items()}
    if "output_dir" not in comparison and not arguments.output_dir:
        raise ValueError(f"{arguments.comparison} lacks output_dir. Give it there, or as --output_dir.")
    overrides = {name: value for name in OVERRIDES if (value := getattr(arguments, name))}
    of_file, shared = as_lists(read_settings(comparison["settings"])), as_lists(comparison["shared"])
    check(comparison["systems"])
    settings = without_blanks(of_file | shared | overrides)
    require_settings(comparison["settings"], settings, "student", "data", "languages")
    lists = {name: [str] for name in LISTS if name in settings}
    check_form(settings, {"student": str, **lists}, str(comparison["settings"]))
    for name in {"languages", "test_languages"} & settings.keys():
        settings[name] = chosen_languages(settings[name])
    return comparison, settings


def require_settings(file: str | Path, settings: Settings, *names: str) -> None:
    """Raises `ValueError` if a file lacks settings that a comparison needs."""
    if missing := [name for name in names if not settings.get(name)]:
        lines = "; ".join(f"`{EXPECTED[name]}`" for name in missing)
        raise ValueError(f"{file} lacks {', '.join(missing)}. Expected lines such as {lines}.")


def evaluation_of(models: Mapping[str, str], shared: Settings, folder: Path) -> Settings:
    """Settings of `distilwhisper eval` that score all models; the last one is compared with the others."""
    *others, last = models
    evaluation = {
        "models": [f"{name}={location}" for name, location in models.items()],
        "data": shared["data"] + shared.get("test_data", []),
        "languages": shared["languages"] + shared.get("test_languages", []),
        "normalizer": shared.get("normalizer", "marks"),
        "batch_size": shared.get("per_device_eval_batch_size", 16),
        "precision": shared.get("student_precision", "float32"),
        "compare": [last, *others],
        "output_dir": str(folder / "scores"),
    }
    if "max_rows" in shared:
        evaluation["max_rows"] = shared["max_rows"]
    if string_to_bool(shared.get("use_cpu", "false")):
        evaluation["device"] = "cpu"
    return evaluation


def run(name: str, file: Path, settings: Settings) -> None:
    """Runs another command as a process, with its settings in a file that remains."""
    write_atomically(file, yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))
    print(f"\ndistilwhisper {name} {file}", flush=True)
    done = subprocess.run([sys.executable, "-m", __package__.partition(".")[0], name, str(file)])
    if done.returncode:
        raise ChildProcessError(f"`distilwhisper {name} {file}` failed with exit status {done.returncode} (see above).")


def report(models: Mapping[str, str], shared: Settings, minutes: Mapping[str, float], folder: Path) -> None:
    """Prints and writes the table of means, and draws the WER of every system."""
    scores = read_json(folder / "scores/summary.json", SUMMARY)["scores"]
    rules = dict.fromkeys(score["normalizer"] for score in scores)
    title = f"WER ({', '.join(rules)}), mean over languages"
    means = []
    for system in models:
        wers = mean_wers(scores, shared["languages"], system)
        spent = f"{minutes[system]:.1f}" if system in minutes else None
        means.append({title: system, **wers, "training, minutes": spent})
    table = table_of(means, ".3f")
    write_atomically(folder / "means.md", f"{table}\n")
    print(f"\n{table}")
    picture = ""
    if figures := import_figures():
        figures.draw_wer(side_by_side(scores), list(models), folder / "wer.png")
        picture = f", {folder}/wer.png"
    print(f"\nAlso: {folder}/means.md{picture} and, with intervals, {folder}/scores/summary.md")


def check(systems: Iterable[str]) -> None:
    """Refuses, before anything is trained, systems whose names cannot name a model and a folder."""
    names = [*RESERVED, *map(file_name, systems)]
    if len(set(names)) < len(names) or any(split_name(f"{system}=x")[0] != system for system in systems):
        raise ValueError(
            f"Systems need different names, not {', '.join(RESERVED)}, and without = : / or ?; got {list(systems)}."
        )


def as_lists(settings: Settings) -> Settings:
    """The settings, with a single corpus or language as a list of one."""
    return settings | {name: [value] for name in LISTS if isinstance(value := settings.get(name), str)}


def without_blanks(settings: Settings) -> Settings:
    """The settings that have a value: `teacher: ""` in a system removes the teacher that the others share."""
    return {name: value for name, value in settings.items() if value not in ("", None)}


def side_by_side(scores: Iterable[Mapping]) -> list[dict]:
    """A row for each data set and language, with the WER of every system."""
    rows: dict[tuple[str, str], dict] = {}
    for score in scores:
        row = {name: score[name] for name in ("data_set", "language", "words", "unit", "normalizer")}
        rows.setdefault((score["data_set"], score["language"]), row)[score["system"]] = score["wer"]
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
    sys.exit(main())
