"""Train one student in several ways on the same rows, and compare the scores: the report's Table 6, on any data.

    distilwhisper compare examples/quickstart/compare.yaml
    distilwhisper compare examples/configs/compare_prompts_ru.yaml

The file names a file of settings that all systems share, and the settings of each system. Every system is a run of
`distilwhisper train`, with `seeds: [0, 1, 2]` one for each seed, and `distilwhisper eval` scores them all.

It writes comparison.json (settings, commit, machine, minutes, scores with counts, paired differences), and from it
means.md, languages.md, differences.md and wer.png. Start it again after an interruption, and it goes on: a finished
system is neither trained nor transcribed again. If the data behind a name changes, name another folder.
"""

import argparse
import shlex
import sys
from pathlib import Path

from ..runs.files import write_atomically
from ..runs.lock import hold
from .command_line import command, import_figures, make_parser
from .comparison.content import content_of
from .comparison.plan import read_plan
from .comparison.runs import as_json, score_all, train_all
from .comparison.tables import differences, languages, means, notes, side_by_side, systems

OVERRIDES = ("student", "teacher", "student_precision")  # flags that replace the file's settings


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    overrides = {name: value for name in OVERRIDES if (value := getattr(arguments, name))}
    plan = read_plan(arguments.comparison, arguments.output_dir, overrides)
    hold(plan.folder)
    results = train_all(plan)
    score_all(plan)
    content = content_of(plan, results, shlex.join(["distilwhisper", "compare", *argv]))
    write_atomically(plan.folder / "comparison.json", as_json(content))
    report(content, plan.folder)


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("comparison", type=Path, help="a file such as examples/quickstart/compare.yaml")
    parser.add_argument("--output_dir", help="folder for the systems and their scores; by default the file's")
    for name in OVERRIDES:
        parser.add_argument(f"--{name}", help="replaces the file's")
    return parser.parse_args(argv)


def report(content: dict, folder: Path) -> None:
    """Prints and writes the tables, and draws the WER of every system."""
    tables = {"means.md": means(content), "differences.md": f"{differences(content)}\n\n{notes(content)}"}
    for table in tables.values():
        print(f"\n{table}")
    tables["languages.md"] = languages(content)
    for name, table in tables.items():
        write_atomically(folder / name, f"{table}\n")
    files = ["comparison.json, from which the tables are made", *tables]
    if figures := import_figures():
        figures.draw_wer(side_by_side(content), systems(content), folder / "wer.png")
        files.append("wer.png")
    print(f"\nIn {folder}: {', '.join(files)} and, by groups of languages, scores/summary.md")


if __name__ == "__main__":
    sys.exit(main())
