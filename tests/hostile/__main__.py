"""Tries every input and prints how many ended in which way; the first column is that of commit 8e47b73.

    python tests/hostile
    python tests/hostile --families tables audio --show "silently wrong"

Each input runs in a process of its own, with a limit on time and memory. It ends in one of six ways: right (accepted,
and the result is right, or bad rows were left out and counted), clear error (what was expected, what came, what to do),
bare (an exception that was not written for a user), silently wrong, hang (no end after 30 s), leak (memory beyond 2 GB,
files left behind, or something told that must not be).
"""

import argparse
import importlib
import json
import os
import pkgutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tabulate import tabulate
from tqdm.auto import tqdm

from hostile import families
from hostile.trial import CLASSES, Trial, Verdict, judge

BEFORE = Path(__file__).with_name("before.json")


def all_trials(chosen: list[str] | None = None) -> list[Trial]:
    """Every trial of the families, or of the chosen ones."""
    names = sorted(module.name for module in pkgutil.iter_modules(families.__path__))
    if unknown := set(chosen or []) - set(names):
        raise SystemExit(f"No families {sorted(unknown)}. Known: {', '.join(names)}.")
    modules = {name: importlib.import_module(f"hostile.families.{name}") for name in chosen or names}
    return [Trial(name, title, act) for name, module in modules.items() for title, act in module.trials()]


def try_all(trials: list[Trial]) -> dict[Trial, Verdict]:
    """The verdict of each trial; as many at a time as there are cores."""
    torch.set_num_threads(1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = tqdm(pool.map(judge, trials), total=len(trials), desc="Trying", unit="input")
        return dict(zip(trials, verdicts, strict=True))


def count(verdicts: dict[Trial, Verdict]) -> dict[str, dict[str, int]]:
    """How many inputs of each family ended in which way."""
    counts: dict[str, Counter] = {}
    for trial, verdict in verdicts.items():
        counts.setdefault(trial.family, Counter())[verdict.outcome] += 1
    return {family: {name: counter[name] for name in CLASSES} for family, counter in counts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", help="only these")
    parser.add_argument("--show", nargs="+", choices=CLASSES, help="print the inputs with these outcomes")
    parser.add_argument("--save", type=Path, help="write the counts to this JSON file")
    arguments = parser.parse_args()
    verdicts = try_all(all_trials(arguments.families))
    for trial, verdict in verdicts.items():
        if verdict.outcome in (arguments.show or ()):
            print(f"{verdict.outcome}: {trial.family}: {trial.name}: {verdict.reason}")
    counts = count(verdicts)
    if arguments.save:
        arguments.save.write_text(json.dumps(counts, indent=2) + "\n")
    before = json.loads(BEFORE.read_text()) if BEFORE.is_file() else {}
    rows = [
        [family, *(f"{before.get(family, {}).get(name, '–')} → {n}" for name, n in row.items())]
        for family, row in counts.items()
    ]
    totals = [sum(row[name] for row in counts.values()) for name in CLASSES]
    earlier = [sum(row.get(name, 0) for family, row in before.items() if family in counts) for name in CLASSES]
    rows.append([f"all {len(verdicts)}", *(f"{old} → {new}" for old, new in zip(earlier, totals, strict=True))])
    print(tabulate(rows, headers=["family", *CLASSES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
