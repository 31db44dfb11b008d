"""What a step of gpu.sh writes: after each check, so that a step that is stopped leaves what it found."""

import json
import sys
from pathlib import Path

from modeling_distilwhisper.runs.files import write_atomically

SKIPPED = 3  # exit status


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
