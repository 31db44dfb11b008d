"""Writes the model card of a run: README.md for the Hub, from its results.json and, if given, an evaluation of it.

    python examples/make_card.py distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0 \
        --evaluation scores/summary.json --bias bias --system ours

`run_distil.py` writes one at its end already; this adds a name on the Hub, a licence, scores of `run_eval.py` and what
`run_bias.py` found of groups of speakers. So it comes before any words of one's own: a card that somebody has edited is
left alone, until it is deleted or moved.
"""

import argparse
from pathlib import Path

from ..bias.card_rows import card_rows
from ..reporting.model_card import card_of_run, left_alone, save_card
from ..runs.old_names import read_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder, or its results.json")
    parser.add_argument("--output", type=Path, help="the card's file; by default README.md beside results.json")
    parser.add_argument("--name", help="Hub id or folder that the card's examples load; by default the run's folder")
    parser.add_argument("--evaluation", type=Path, help="summary.json of run_eval.py")
    parser.add_argument("--system", help="what --evaluation and --bias call this model")
    parser.add_argument("--bias", type=Path, help="output folder of run_bias.py")
    parser.add_argument("--license", help="as the Hub names it, such as apache-2.0")
    parser.add_argument("--note", help="what a reader has to know before all else")
    args = parser.parse_args(argv)
    if (args.evaluation is None and args.bias is None) != (args.system is None):
        parser.error("--evaluation or --bias and --system go together: it says which of their models the card is of.")

    results = args.run / "results.json" if args.run.is_dir() else args.run
    card = card_of_run(
        read_json(results),
        name=args.name or results.parent.resolve().name,
        evaluation=args.evaluation and read_json(args.evaluation),
        system=args.system,
        bias=args.bias and card_rows(args.bias, args.system),
        license=args.license,
        note=args.note,
    )
    output = args.output or results.with_name("README.md")
    if not save_card(card, output):
        parser.error(f"{left_alone(output)} Or name another --output.")
    print(output)


if __name__ == "__main__":
    main()
