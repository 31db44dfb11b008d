"""Convert a checkpoint of the method's authors into a model of this package, number for number.

    distilwhisper convert-authors naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k

Their experts are pickles; only tensors are read from them, never code. Anything else than such a checkpoint is refused,
and then nothing is written. The three checkpoints that they published, with all their languages, get a model card.
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from ..export.authors import PUBLISHED, authors_card, convert_checkpoint, fetch_checkpoint, processor_of_checkpoint
from ..names_distilwhisper import hide_paths
from ..reporting.model_card import save_card, sizes
from ..runs.files import is_taken, staged_folder
from .command_line import command, make_parser


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    folder = fetch_checkpoint(arguments.source, arguments.languages)
    model = convert_checkpoint(folder, arguments.base, arguments.languages)
    processor = processor_of_checkpoint(folder, arguments.base)
    with staged_folder(arguments.output_dir) as staged:
        model.save_pretrained(staged)
        processor.save_pretrained(staged)
        hide_paths(staged)
    if card := authors_card(arguments.source, list(model.config.languages or ()), arguments.output_dir.resolve().name):
        save_card(card, arguments.output_dir / "README.md")
    else:
        print(f"No model card: only {', '.join(PUBLISHED)} have one, each with all of its languages.")
    rows = [
        {"language": language, "weights, M": experts["parameters"] / 1e6, "file, MB": experts["bytes"] / 1e6}
        for language, experts in sizes(model, arguments.output_dir)["experts"].items()
    ]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("source", help="folder or Hub id of one of their checkpoints")
    parser.add_argument("--output_dir", required=True, type=Path, help="a new folder")
    parser.add_argument("--languages", nargs="+", help="codes, such as ca gl; by default all that it has")
    parser.add_argument(
        "--base",
        default="openai/whisper-small",
        help="the Whisper that they froze: gives the generation settings and the processor where the source lacks them",
    )
    arguments = parser.parse_args(argv)
    if is_taken(arguments.output_dir):
        parser.error(f"{arguments.output_dir} exists already. Name a new folder.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
