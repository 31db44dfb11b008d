"""Tables of a benchmark, which runs on machines as they come."""

import json
from collections.abc import Sequence


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
