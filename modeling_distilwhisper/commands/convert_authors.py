"""Turns a checkpoint of the method's authors into a model of this package, number for number.

    python examples/convert_authors_checkpoint.py naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k

Their experts are pickles, of which only tensors are read, never code. What is not exactly such a checkpoint is refused,
and then nothing is written. For one of the three that they published, with all of its languages, the folder gets its
card from model_cards/.
"""

import argparse
import re
from pathlib import Path

from huggingface_hub import ModelCard
from tabulate import tabulate

from ..export.authors import convert_checkpoint, fetch, processor_of_checkpoint
from ..reporting.model_card import save_card, sizes

CARDS = Path(__file__).parents[2] / "model_cards"
PUBLISHED = tuple(f"naver/multilingual-distilwhisper-{size}" for size in ("3k", "10k", "28k"))


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

    folder = fetch(args.source, args.languages)
    model = convert_checkpoint(folder, args.base, args.languages)
    processor = processor_of_checkpoint(folder, args.base)
    model.save_pretrained(args.output_dir)
    processor.save_pretrained(args.output_dir)
    if card := card_of(args.source, model.config.languages, args.output_dir.resolve().name):
        save_card(card, args.output_dir / "README.md")
    else:
        print(f"No model card: there are some of {', '.join(PUBLISHED)} alone, each with all of its languages.")
    found = sizes(model, args.output_dir)["experts"]
    rows = [
        {"language": code, "weights, M": own["parameters"] / 1e6, "file, MB": own["bytes"] / 1e6}
        for code, own in found.items()
    ]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))


def card_of(source: str, languages: list[str], name: str) -> ModelCard | None:
    """The card of a published checkpoint, its code loading the folder `name`; of a part of it it would be false."""
    if source not in PUBLISHED or Path(source).is_dir():
        return None
    card = ModelCard.load(CARDS / f"{source.removeprefix('naver/')}.md")
    if set(card.data.language) != set(languages):
        return None
    written = source.removeprefix("naver/multilingual-")
    card.text = re.sub(rf"(?<![\w-]){written}(?![\w-])", lambda _: name, card.text)
    return card


if __name__ == "__main__":
    main()
