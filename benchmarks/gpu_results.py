"""What a step of gpu.sh takes and writes. It writes after each check: a step that is stopped leaves what it found."""

import argparse
import json
import sys
from pathlib import Path

from modeling_distilwhisper.runs.files import write_atomically

SKIPPED = 3  # exit status


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of what every step takes: where the models run, and the file for its results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True)
    parser.add_argument("--output", type=Path, required=True)
    return parser


class Results:
    """The results of a step.

    Args:
        output: the file.
    """

    def __init__(self, output: Path):
        self.output = output
        self.content: dict = {"summary": [], "checks": []}

    def add(self, check: dict, line: str) -> None:
        """Adds a check, and a line that says the same to a person."""
        self.content["checks"].append(check)
        self.content["summary"].append(line)
        print(line, flush=True)
        self.write()

    def write(self) -> None:
        write_atomically(self.output, json.dumps(self.content, indent=1) + "\n")

    def skip(self, why: str) -> None:
        """Ends the step, which cannot run here.

        Args:
            why: a sentence.
        """
        self.content["why"] = why
        self.write()
        print(why)
        sys.exit(SKIPPED)
