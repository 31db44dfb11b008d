"""Write the model card of a run: README.md for the Hub, from its results.json and, if given, an evaluation of it.

    python examples/make_card.py distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0
    python examples/make_card.py distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0 \
        --evaluation scores/summary.json --bias bias --system ours

`run_distil.py` writes a card at its end already. This adds a name on the Hub, a licence, scores by `distilwhisper
eval`, and error rates of groups of speakers by `distilwhisper bias`. Run it before you add words of your own: a card
that somebody has edited is left alone, until it is deleted or moved. `distilwhisper card` does the same.
"""

import sys

from modeling_distilwhisper import card_of_run, save_card
from modeling_distilwhisper.commands.card import bias_rows, parse
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.runs.old_names import read_json


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    results = arguments.run / "results.json" if arguments.run.is_dir() else arguments.run
    card = card_of_run(
        read_json(results),
        name=arguments.name or results.parent.resolve().name,
        evaluation=arguments.evaluation and read_json(arguments.evaluation),
        system=arguments.system,
        bias=bias_rows(arguments),
        license=arguments.license,
        note=arguments.note,
    )
    path = arguments.output or results.with_name("README.md")
    if not save_card(card, path):
        raise ValueError(f"{path} was edited, and stays as it is. Delete or move it, or name another --output.")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
