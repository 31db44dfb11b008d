"""The runs of a comparison: each training once, then one evaluation of all models, in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml
from transformers.hf_argparser import string_to_bool

from ...runs.files import file_name, write_atomically
from ...runs.forms import check_form
from ...runs.old_names import read_json
from ...runs.results import FILE, RunResults
from .plan import Plan, Settings, without_blanks

TRAINED = "trained.json"  # the settings of each finished training, by the name of its folder


def train_all(plan: Plan) -> dict[str, RunResults]:
    """Trains what is not trained yet; returns the results of each run, by the name of its model."""
    results = {}
    for run in plan.runs:
        output = str(plan.folder / run.name)
        settings = without_blanks({**plan.shared, **run.settings, "output_dir": output})
        trained = finished(plan.folder)
        if trained.get(run.name) == settings and Path(output, FILE).is_file():
            print(f"\n{run.model}: trained before.", flush=True)
        else:
            start("train", Path(f"{output}.yaml"), settings)
            write_atomically(plan.folder / TRAINED, as_json(trained | {run.name: settings}))
        results[run.model] = RunResults.read(output)
        check_form(results[run.model].training, {"train_runtime": float}, f"{output}: training")
    return results


def finished(folder: Path) -> dict[str, Settings]:
    """The settings of the trainings that a comparison has finished in its folder, by name."""
    file = folder / TRAINED
    return read_json(file, {str: dict}) if file.is_file() else {}


def score_all(plan: Plan) -> None:
    """Scores all models on all test rows: those with transcripts already, from these."""
    models = plan.untrained | {run.model: str(plan.folder / run.name) for run in plan.runs}
    start("eval", plan.folder / "scores.yaml", evaluation_of(models, plan))


def evaluation_of(models: Mapping[str, str], plan: Plan) -> Settings:
    """Settings of `distilwhisper eval` that score all models. Without seeds, the last is compared with the others."""
    shared = plan.shared
    *others, last = models
    evaluation = {
        "models": [f"{name}={location}" for name, location in models.items()],
        "data": shared["data"] + shared.get("test_data", []),
        "languages": shared["languages"] + shared.get("test_languages", []),
        "normalizer": shared.get("normalizer", "marks"),
        "batch_size": shared.get("per_device_eval_batch_size", 16),
        "precision": shared.get("student_precision", "float32"),
        "output_dir": str(plan.folder / "scores"),
    }
    if not plan.seeds:  # of several seeds, comparison.json has the differences, pooled over all of them
        evaluation["compare"] = [last, *others]
    if "max_rows" in shared:
        evaluation["max_rows"] = shared["max_rows"]
    if string_to_bool(shared.get("use_cpu", "false")):
        evaluation["device"] = "cpu"
    return evaluation


def start(name: str, file: Path, settings: Settings) -> None:
    """Runs another command as a process, with its settings in a file that remains."""
    write_atomically(file, yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))
    print(f"\ndistilwhisper {name} {file}", flush=True)
    done = subprocess.run([sys.executable, "-m", __package__.partition(".")[0], name, str(file)])
    if done.returncode:
        raise ChildProcessError(f"`distilwhisper {name} {file}` failed with exit status {done.returncode} (see above).")


def transcripts(plan: Plan, row: Mapping, model: str) -> Path:
    """The file of transcripts behind a row of the evaluation's scores."""
    folder = plan.folder / "scores" / file_name(model) / file_name(row["data_set"])
    return folder / f"{file_name(row['language'])}.{row['split']}.jsonl"


def as_json(content: Mapping) -> str:
    """JSON whose lists of mappings have a line for each."""

    def text(value) -> str:
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return "[\n" + ",\n".join(f" {json.dumps(one, ensure_ascii=False)}" for one in value) + "\n]"
        return json.dumps(value, ensure_ascii=False)

    lines = [f"{json.dumps(name, ensure_ascii=False)}: {text(value)}" for name, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"
