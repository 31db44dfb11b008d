"""Renders the tables of all pages from the data in `results/`.

    python benchmarks/render.py          # renews the tables in the pages
    python benchmarks/render.py --check  # changes nothing; fails where a page is not as the data say

A table stands in a page between two comments, `<!-- table: NAME/TABLE -->` and `<!-- end of table -->`. NAME is a
file of `results/` without its ending, or the folder `prompts_comparison`; `declared_tables.py` explains the tables.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT, RESULTS = HERE.parent, HERE.parent / "results"
sys.path[:0] = [str(HERE), str(ROOT)]

import declared_tables  # noqa: E402

from modeling_distilwhisper.runs.files import write_atomically  # noqa: E402

BLOCK = re.compile(r"(<!-- table: ([\w-]+)/([\w -]+) -->\n\n).*?(\n\n<!-- end of table -->)", re.DOTALL)
PROMPTS = "prompts_comparison"
PAGES = ("README.md", "docs/*.md", "examples/*.md", "examples/*/README.md", "benchmarks/*.md", "model_cards/README.md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail on a difference, and change nothing")
    arguments = parser.parse_args()
    other = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        rendered = render(text)
        if rendered == text:
            continue
        other += 1
        print(f"{page.relative_to(ROOT)}: {'not as the data say' if arguments.check else 'renewed'}")
        if not arguments.check:
            write_atomically(page, rendered)
    return int(arguments.check and other > 0)


def pages() -> list[Path]:
    """The pages that may have numbers of runs."""
    paths = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if path.is_file())


def render(page: str, names: Callable[[str], bool] = lambda name: True) -> str:
    """The page with its tables made anew.

    Args:
        page: its text.
        names: which data are rendered, by name; the other tables stay.

    Raises:
        KeyError: the page asks for a table or a file that is not there.
    """

    def block(match: re.Match) -> str:
        if not names(match[2]):
            return match[0]
        tables = tables_of(match[2])
        if match[3] not in tables:
            raise KeyError(f"{match[2]} has no table {match[3]!r}. It has {', '.join(tables)}.")
        return match[1] + tables[match[3]] + match[4]

    return BLOCK.sub(block, page)


@cache
def tables_of(name: str) -> dict[str, str]:
    """The tables of a file or folder of `results/`, by name."""
    if name == PROMPTS:
        from comparison_tables import make_tables  # it counts errors in thousands of transcripts

        return make_tables(RESULTS / PROMPTS)
    return declared_tables.tables_of(content_of(name))


@cache
def content_of(name: str) -> dict:
    """The content of a file of `results/`.

    Raises:
        KeyError: there is none of this name.
    """
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        raise KeyError(f"There is no {file.relative_to(ROOT)}. There are {', '.join(known())}.")
    return json.loads(file.read_text(encoding="utf-8"))


def known() -> Iterable[str]:
    return sorted(file.stem for file in RESULTS.glob("*.json"))


if __name__ == "__main__":
    sys.exit(main())
