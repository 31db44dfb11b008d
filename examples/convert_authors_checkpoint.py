"""Convert a checkpoint of the method's authors into a model of this package, number for number.

    python examples/convert_authors_checkpoint.py naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k
    python examples/convert_authors_checkpoint.py checkpoint --languages ca gl --output_dir distilwhisper-ca-gl

Their experts are pickles; only tensors are read from them, never code. Anything else than such a checkpoint is refused,
and then nothing is written. The three checkpoints that they published, with all their languages, get a model card.
`distilwhisper convert-authors` does the same.
"""

import sys

from modeling_distilwhisper import convert_checkpoint, save_card
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.convert_authors import parse
from modeling_distilwhisper.export.authors import authors_card, fetch_checkpoint, processor_of_checkpoint


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    folder = fetch_checkpoint(arguments.source, arguments.languages)  # a folder as it is, or a download from the Hub

    # The conversion changes names and no number: ffn_clsr.proj.catalan.fc1.weight becomes experts.ca.fc1.weight.
    model = convert_checkpoint(folder, arguments.base, arguments.languages)
    processor = processor_of_checkpoint(folder, arguments.base)
    model.save_pretrained(arguments.output_dir)
    processor.save_pretrained(arguments.output_dir)

    languages = list(model.config.languages)
    if card := authors_card(arguments.source, languages, arguments.output_dir.resolve().name):
        save_card(card, arguments.output_dir / "README.md")
    print(f"{arguments.output_dir}: {', '.join(languages)}")


if __name__ == "__main__":
    sys.exit(main())
