"""What pseudo-labels are worth: a share of a transcribed corpus, alone and with labels of a model for the rest of it.

    python benchmarks/pseudo_labels.py "examples/quickstart/in_domain/{language}" ca hu uk output \
        --settings examples/quickstart/quickstart.yaml --labeller examples/quickstart/teacher
    python benchmarks/pseudo_labels.py "prompts/{language}" ru output \
        --settings examples/configs/prompts_ru.yaml --student openai/whisper-base --share 0.1 --labeller_share 0.25

Without `--labeller`, experts are trained on `--labeller_share` of the rows first, and label. No system is trained on
the other rows of that share, so that nothing is labelled by a model that has learned its transcript. Four systems are
trained for the same steps and compared by `distilwhisper compare`: the share alone, and with the rest, labelled and
not filtered, labelled and filtered, or with its true transcripts. `output/result.json`, a file for `results/`, has WER,
intervals and differences; and the WER of the labels themselves, by the transcripts that the labeller never saw: of all,
of those that the filters keep, and of those that they drop. Started again, it goes on.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from modeling_distilwhisper import count_errors, read_folder
from modeling_distilwhisper.runs.files import staged_folder, write_atomically
from modeling_distilwhisper.runs.settings_file import read_settings

ALONE, UNFILTERED, FILTERED, TRUE = "share alone", "unfiltered labels", "filtered labels", "true transcripts"
BEST = 0.7  # of the labels that the filters keep


def main() -> None:
    given = parse()
    output, settings = Path(given.output), read_settings(given.settings)
    student = given.student or settings["student"]
    settings = {name: value for name, value in settings.items() if name not in ("test_data", "test_languages")}
    settings |= {"student": student, "languages": given.languages}
    if given.student and settings.get("teacher"):
        settings["teacher"] = student
    settings |= yaml.safe_load(given.more)
    rows = {language: share_out(given, language, output / "data") for language in given.languages}
    data = {name: f"{name}={output}/data/{name}/{{language}}" for name in ("share", "labeller", "rest")}

    # Every system takes as many steps: the epochs of the settings, over the share and the rest.
    batch = int(settings.get("per_device_train_batch_size", 16))
    total = sum(counts["share"] + counts["rest"] for counts in rows.values())
    steps = given.max_steps or math.ceil(float(settings.pop("num_train_epochs", 10)) * total / batch)
    settings |= {"max_steps": steps, "score_teacher": False}
    write_settings(output / "settings.yaml", settings | {"data": [data["share"]]})

    labeller = given.labeller or str(output / "labeller")
    if not given.labeller and not (output / "labeller/results.json").is_file():
        write_settings(output / "labeller.yaml", settings | {"data": [data["labeller"]], "output_dir": labeller})
        start("train", output / "labeller.yaml")

    # Labelled once. The filters are applied to a copy, which labels nothing again.
    label = ["--data", data["rest"], "--language", *given.languages, "--model", labeller]
    label += ["--device", given.device]
    start("pseudo-label", *label, "--at_least", "--keep_doubtful", "--output_dir", output / "unfiltered")
    if not (output / "filtered").is_dir():
        with staged_folder(output / "filtered") as staged:
            shutil.copytree(output / "unfiltered", staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns("_lock*"))
    start("pseudo-label", *label, "--best", f"mean_logprob={BEST}", "--output_dir", output / "filtered")
    normalizer = settings.get("normalizer", "marks")
    quality = {language: label_quality(output, language, normalizer) for language in given.languages}

    systems = {
        ALONE: {},
        UNFILTERED: {"train_data": [f"labels={output}/unfiltered"]},
        FILTERED: {"train_data": [f"labels={output}/filtered"]},
        TRUE: {"train_data": [data["rest"]]},
    }
    comparison = {"title": "Speech without transcripts", "settings": str(output / "settings.yaml"), "systems": systems}
    comparison |= {"output_dir": str(output / "comparison"), "seeds": given.seeds}
    comparison["compare"] = {FILTERED: [ALONE, UNFILTERED, TRUE], UNFILTERED: [ALONE, TRUE], TRUE: [ALONE]}
    write_settings(output / "comparison.yaml", comparison)
    start("compare", output / "comparison.yaml")
    result = json.loads((output / "comparison/comparison.json").read_text(encoding="utf-8"))
    result |= {"facts": {"WER of labels": quality, "rows": rows, "best": BEST, "steps": steps}}
    if not given.labeller:
        scores = json.loads((output / "labeller/results.json").read_text(encoding="utf-8"))["scores"]["after"]
        result["facts"]["WER of the labeller"] = scores
    write_atomically(output / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(quality, indent=2))


def share_out(given: argparse.Namespace, language: str, folder: Path) -> dict[str, int]:
    """Writes the parts of the training rows as corpora: the share, what the labeller learns from, and the rest. Gives
    the number of rows of each. The first two have the corpus's validation and test rows."""
    location = given.corpus.replace("{language}", language)
    rows = {split: read_folder(location, split, language) for split in ("train", "validation", "test")}
    order = np.random.default_rng(0).permutation(len(rows["train"]))
    share = max(1, round(given.share * len(order)))
    of_labeller = share if given.labeller else max(share, round(given.labeller_share * len(order)))
    chosen = {"share": order[:share], "labeller": order[:of_labeller], "rest": order[of_labeller:][: given.max_rows]}
    for name, indices in chosen.items():
        target = folder / name / language
        if target.is_dir():
            continue
        with staged_folder(target) as staged:
            write_split(rows["train"].select(np.sort(indices)), Path(staged, "train"))
            for split in ("validation", "test"):
                write_split(
                    rows[split].select(range(min(len(rows[split]), given.max_rows or 10**9))), Path(staged, split)
                )
    return {name: len(indices) for name, indices in chosen.items()}


def write_split(rows, folder: Path) -> None:
    """Writes rows as a folder of recordings, whose files are numbered."""
    folder.mkdir(parents=True)
    lines = []
    for number, row in enumerate(rows):
        source = Path(row["audio"]["path"])
        name = f"{number:05d}{source.suffix}"
        shutil.copy(source, folder / name)
        lines.append({"file_name": name, "transcription": row["text"], "language": row["language"]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def label_quality(output: Path, language: str, normalizer: str) -> dict[str, dict]:
    """The WER of the labels of the rest, by its transcripts: of all, of those that the filters keep, of the others."""
    truth = {row["id"]: row["text"] for row in read_folder(output / f"data/rest/{language}", "train", language)}
    pairs = {}
    for name in ("unfiltered", "filtered"):
        rows = map(json.loads, (output / name / "train/metadata.jsonl").read_text(encoding="utf-8").splitlines())
        labels = {row["recording"].rpartition("/")[2]: row for row in rows if row["language"] == language}
        pairs[name] = {key: (truth[key], row["transcription"]) for key, row in labels.items()}
    every, kept = pairs["unfiltered"], pairs["filtered"]
    dropped = {key: pair for key, pair in every.items() if key not in kept}
    table = {}
    for name, part in {"all": every, "kept": kept, "dropped": dropped}.items():
        if part:
            counts = count_errors(*zip(*part.values(), strict=True), normalizer, language)
            rates = counts.rates()
            table[name] = {"labels": len(part), "words of each": rates["words"] / len(part)}
            table[name] |= {"wer": rates["wer"], "interval": counts.wer_interval()}
    return table


def write_settings(path: Path, settings: dict) -> None:
    write_atomically(path, yaml.safe_dump(settings, allow_unicode=True, sort_keys=False))


def start(*command) -> None:
    """Runs a command of `distilwhisper`."""
    subprocess.run([sys.executable, "-m", "modeling_distilwhisper", *map(str, command)], check=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="a folder of recordings, with {language} in its path")
    parser.add_argument("languages", nargs="+", help="codes")
    parser.add_argument("output", help="folder of all that it writes")
    parser.add_argument("--settings", required=True, type=Path, help="of `distilwhisper train`, for all systems")
    parser.add_argument("--student", help="replaces that of the settings, and their teacher")
    parser.add_argument("--labeller", help="a model that labels; by default one is trained")
    parser.add_argument("--share", type=float, default=0.1, help="of the rows, which have transcripts")
    parser.add_argument("--labeller_share", type=float, default=0.25, help="of the rows that the labeller learns from")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--max_steps", type=int, help="of each training, for a try")
    parser.add_argument("--max_rows", type=int, help="at most this many of the rest and of the scored rows")
    parser.add_argument("--more", default="{}", help="more settings of training, as YAML: '{use_cpu: true}'")
    parser.add_argument("--device", default="cpu", help="of the labelling")
    return parser.parse_args()


if __name__ == "__main__":
    main()
