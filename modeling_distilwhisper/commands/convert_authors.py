"""Turns a checkpoint of the method's authors into a model of this package, number for number.

    python examples/convert_authors_checkpoint.py naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k

Their experts are pickles, of which only tensors are read, never code. What is not exactly such a checkpoint is refused,
and then nothing is written. For one of the three that they published, with all of its languages, the folder gets its
card.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from ..export.authors import PUBLISHED, authors_card, convert_checkpoint, fetch_checkpoint, processor_of_checkpoint
from ..reporting.model_card import save_card, sizes


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder or Hub id of a checkpoint of theirs")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--languages", nargs="+", help="codes, such as ca gl; by default all that it has")
    parser.add_argument(
        "--base",
        default="openai/whisper-small",
        help="the Whisper that they froze: gives the generation settings and the processor where the source lacks them",
    )
    args = parser.parse_args(argv)
    if args.output_dir.exists():
        parser.error(f"{args.output_dir} is there already. Name a new folder.")

    folder = fetch_checkpoint(args.source, args.languages)
    model = convert_checkpoint(folder, args.base, args.languages)
    processor = processor_of_checkpoint(folder, args.base)
    model.save_pretrained(args.output_dir)
    processor.save_pretrained(args.output_dir)
    if card := authors_card(args.source, model.config.languages, args.output_dir.resolve().name):
        save_card(card, args.output_dir / "README.md")
    else:
        print(f"No model card: there are some of {', '.join(PUBLISHED)} alone, each with all of its languages.")
    found = sizes(model, args.output_dir)["experts"]
    rows = [
        {"language": code, "weights, M": own["parameters"] / 1e6, "file, MB": own["bytes"] / 1e6}
        for code, own in found.items()
    ]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))


if __name__ == "__main__":
    main()
