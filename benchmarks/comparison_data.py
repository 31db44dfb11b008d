"""The runs of the comparison on real prompts: read from an archive or a folder, and condensed to a folder to publish.

    python benchmarks/comparison_data.py results.tar.gz results/prompts_comparison

Of several sources, the runs of a later one replace those of the same name, and the others stay.

The archive is what gpu_comparison.sh wrote. The folder gets `runs.json`, a record for each run, a line each (settings,
seed, commit, machine, versions, minutes, validation scores, errors with counts), and `transcripts.jsonl.gz`: each
reference once, then each run's transcripts. The log of the training loss is left out.
"""

import argparse
import gzip
import json
import tarfile
from pathlib import Path

from modeling_distilwhisper.runs.files import atomic_path, write_atomically
from modeling_distilwhisper.runs.old_names import with_new_names
from modeling_distilwhisper.runs.results import RunResults

RUNS, TRANSCRIPTS = "runs.json", "transcripts.jsonl.gz"
COMMON = "common.json"  # in an archive
RENAMED = {"trained parameters": "saved weights"}  # keys of records that an earlier version wrote


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="archives, or folders that this script wrote")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    publish(*together(arguments.sources), arguments.folder)
    for name in (RUNS, TRANSCRIPTS):
        print(f"{arguments.folder / name}: {(arguments.folder / name).stat().st_size / 1e3:.0f} kB")


def read(source: Path) -> tuple[dict, list[dict]]:
    """Reads an archive of gpu_comparison.sh, or a folder that `publish` wrote.

    Returns:
        What holds for all runs ("learning rates" by system and others), and the runs in the order of their names, with
        their transcripts. Smoke tests are left out. Names of an earlier version become those of today.

    Raises:
        FileNotFoundError: there is neither.
    """
    common, runs = _read_folder(source) if source.is_dir() else _read_archive(source)
    content = with_new_names({"common": common, "runs": runs}, source)
    return content["common"], [_today(run) for run in content["runs"] if run["kind"] != "smoke"]


def together(sources: list[Path]) -> tuple[dict, list[dict]]:
    """As `read`, of several sources: runs, learning rates and others are taken from the last one that has them."""
    common, runs = {"learning rates": {}}, {}
    for source in sources:
        its_common, its_runs = read(source)
        rates = common["learning rates"] | its_common.get("learning rates", {})
        common |= {name: value for name, value in its_common.items() if value is not None} | {"learning rates": rates}
        runs |= {run["job"]: run for run in its_runs}
    return common, [runs[name] for name in sorted(runs)]


def _read_archive(path: Path) -> tuple[dict, list[dict]]:
    contents = {}
    with tarfile.open(path) as archive:
        for entry in archive.getmembers():
            file = archive.extractfile(entry) if entry.name.endswith(".json") else None
            if file is not None:
                contents[entry.name] = json.load(file)
    common = contents.pop(COMMON, {}) | contents.pop("about.json", {})  # its name in an earlier version
    return common, [contents[name] for name in sorted(contents)]


def _read_folder(folder: Path) -> tuple[dict, list[dict]]:
    content = json.loads((folder / RUNS).read_text(encoding="utf-8"))
    references, transcripts = {}, {run["job"]: [] for run in content["runs"]}
    with gzip.open(folder / TRANSCRIPTS, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if "run" not in line:
                references[line["utterance"]] = {name: line[name] for name in ("seconds", "reference")}
                continue
            language, split, domain, name = line["utterance"].split("/", 3)
            utterance = {"language": language, "split": split, "domain": domain, "id": name}
            record = utterance | references[line["utterance"]] | {"hypothesis": line["transcript"]}
            transcripts[line["run"]].append(record)
    runs = [run | {"transcripts": transcripts[run["job"]]} for run in content["runs"]]
    return content["common"], runs


def _today(run: dict) -> dict:
    run = {RENAMED.get(name, name): value for name, value in run.items()}
    if "teacher" in run.get("settings", {}):  # the name of the job whose model it is, or WEIGHTS
        run["settings"] = run["settings"] | {"teacher": run["settings"]["teacher"].rpartition("/")[2]}
    if "results" in run:
        results = RunResults.from_json(with_new_names(run["results"], run["job"])).to_json()
        results["scores"] = {system: scores for system, scores in results.get("scores", {}).items() if scores}
        run["results"] = {name: value for name, value in results.items() if value}
    # A record once held the counts of two normalisers. In these languages, both gave the same.
    run["counts"] = [row for row in run.get("counts", []) if row["normalizer"] == "report"]
    return run


def publish(common: dict, runs: list[dict], folder: Path) -> None:
    """Writes both files of a folder that `read` takes. The same runs make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{name: value for name, value in run.items() if name not in ("transcripts", "log")} for run in runs]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    write_atomically(folder / RUNS, f'{{"common": {json.dumps(common, ensure_ascii=False)},\n"runs": [\n{lines}\n]}}\n')
    with (
        atomic_path(folder / TRANSCRIPTS) as path,
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", 9, file, mtime=0) as archive,
    ):
        for line in _transcript_lines(runs):
            archive.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def _transcript_lines(runs: list[dict]) -> list[dict]:
    references, transcripts = {}, []
    for run in runs:
        for record in run.get("transcripts", []):
            key = "/".join(record[name] for name in ("language", "split", "domain", "id"))
            references[key] = {"seconds": record["seconds"], "reference": record["reference"]}
            transcripts.append({"run": run["job"], "utterance": key, "transcript": record["hypothesis"]})
    return [{"utterance": key, **reference} for key, reference in references.items()] + transcripts


if __name__ == "__main__":
    main()
