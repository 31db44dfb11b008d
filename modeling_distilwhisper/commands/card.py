"""Write the model card of a run: README.md for the Hub, from its results.json and, if given, an evaluation of it.

    distilwhisper card distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0 \
        --evaluation scores/summary.json --bias bias --system ours

`distilwhisper train` writes a card at its end already; this adds a name on the Hub, a licence, scores of `distilwhisper
eval`, and error rates of groups of speakers by `distilwhisper bias`. Run it before you add words of your own: a card
that somebody has edited is left alone, until it is deleted or moved.
"""

import argparse
import sys
from pathlib import Path

from ..reporting.model_card import card_of_run, not_saved_message, save_card
from ..runs.forms import AGAIN, check_form
from ..runs.old_names import read_json
from ..runs.results import FILE, SUMMARY, RunResults
from .command_line import command, make_parser

# What a card needs from the results of a run.
MODEL = {"method": str, "student": str, "teacher": str | None, "languages": [str]}
SETTINGS = {"model": MODEL, "data": {"data": [str], "test_data": [str]}}
SCORES = {str: {str: {str: {"wer": float, "words": int, "normalizer": str}}}}


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    folder = arguments.run if arguments.run.is_dir() else arguments.run.parent
    card = card_of_run(
        read_results(arguments.run),
        name=arguments.name or folder.resolve().name,
        evaluation=arguments.evaluation and read_json(arguments.evaluation, SUMMARY),
        system=arguments.system,
        bias=bias_rows(arguments),
        license=arguments.license,
        note=arguments.note,
    )
    output = arguments.output or folder / "README.md"
    if not save_card(card, output):
        raise ValueError(f"{not_saved_message(output)} Or name another --output.")
    print(output)


def read_results(path: Path) -> RunResults:
    """The results of a run, with all that a card needs.

    Raises:
        ValueError: the file is damaged.
    """
    results = RunResults.read(path)
    try:
        check_form(results.settings, SETTINGS, "settings")
        check_form(results.scores, SCORES, "scores")
    except ValueError as error:
        raise ValueError(f"{path / FILE if path.is_dir() else path} is damaged: {error} {AGAIN}") from None
    return results


def bias_rows(arguments: argparse.Namespace):
    """The rows of a study of groups of speakers, if one is given."""
    if arguments.bias is None:
        return None
    from ..bias.card_rows import card_rows  # here alone: the module needs an extra

    return card_rows(arguments.bias, arguments.system)


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("run", type=Path, help="a run's folder, or its results.json")
    parser.add_argument("--output", type=Path, help="the card's file; by default README.md next to results.json")
    parser.add_argument("--name", help="Hub id or folder that the card's examples load; by default the run's folder")
    parser.add_argument("--evaluation", type=Path, help="summary.json of `distilwhisper eval`")
    parser.add_argument("--system", help="the name of this model in --evaluation and --bias")
    parser.add_argument("--bias", type=Path, help="output folder of `distilwhisper bias`")
    parser.add_argument("--license", help="as the Hub names it, such as apache-2.0")
    parser.add_argument("--note", help="what a reader must know first")
    arguments = parser.parse_args(argv)
    if (arguments.evaluation is None and arguments.bias is None) != (arguments.system is None):
        parser.error("--system goes with --evaluation or --bias: it names the model there that the card is of.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
