"""Turns a checkpoint of the method's authors into a model of this package, number for number.

    python examples/convert_authors_checkpoint.py naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k

Their experts are pickles, of which only tensors are read, never code. What is not exactly such a checkpoint is refused,
and then nothing is written. For one of the three that they published, the folder gets its card from model_cards/.
"""

import argparse
import shutil
from pathlib import Path

from tabulate import tabulate

from modeling_distilwhisper.conversion import convert_checkpoint, fetch, load_processor
from modeling_distilwhisper.model_card import sizes

CARDS = Path(__file__).parent.parent / "model_cards"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder or Hub id of a checkpoint of theirs")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--languages", nargs="+", help="codes, such as ca gl; by default all that it has")
    parser.add_argument(
        "--base",
        default="openai/whisper-small",
        help="the Whisper that they froze: gives the generation settings and the processor where the source lacks them",
    )
    args = parser.parse_args()
    if args.output_dir.exists():
        parser.error(f"{args.output_dir} is there already. Name a new folder.")

    folder = fetch(args.source, args.languages)
    model = convert_checkpoint(folder, args.base, args.languages)
    processor = load_processor(folder, args.base)
    model.save_pretrained(args.output_dir)
    processor.save_pretrained(args.output_dir)
    card = CARDS / f"{Path(args.source).name}.md"
    if card.is_file():
        shutil.copyfile(card, args.output_dir / "README.md")
    found = sizes(model, args.output_dir)["experts"]
    rows = [
        {"language": code, "weights, M": own["parameters"] / 1e6, "file, MB": own["bytes"] / 1e6}
        for code, own in found.items()
    ]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))


if __name__ == "__main__":
    main()
