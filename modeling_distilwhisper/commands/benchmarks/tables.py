"""Tables of a benchmark, which runs on machines as they come."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...runs.files import write_atomically


def print_table(rows: Sequence[dict], **layout) -> None:
    """Prints a table; a line of JSON for each row where tabulate is not installed, as on a machine that was lent.

    Args:
        rows: mappings from a column's name to its value.
        layout: further arguments of `tabulate`.
    """
    try:
        from tabulate import tabulate
    except ImportError:
        print("\n".join(map(json.dumps, rows)), flush=True)
    else:
        print(tabulate(rows, headers="keys", **layout), flush=True)


def write_measured(arguments: argparse.Namespace, measured: Mapping[str, Mapping]) -> None:
    """Writes the settings and all measurements to `--output`, where it is given: complete, or the file before.

    Args:
        arguments: of the command.
        measured: by precision or batch, what `take_turns` returned.
    """
    if arguments.output is not None:
        simple = (str, int, list, type(None))
        settings = {name: value for name, value in vars(arguments).items() if isinstance(value, simple)}
        Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(arguments.output, json.dumps({"settings": settings, "systems": measured}, indent=1) + "\n")
