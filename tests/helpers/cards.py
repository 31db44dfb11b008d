"""A run, an evaluation of it, and the cards of both."""

import re

from helpers.scripts import EXAMPLES

from modeling_distilwhisper.export.authors import CARDS as AUTHORS_CARDS
from modeling_distilwhisper.reporting.model_card import card_of_run
from modeling_distilwhisper.runs.old_names import read_json

CARDS = EXAMPLES.parent / "model_cards"
AUTHORS = {path.stem: path for path in AUTHORS_CARDS.glob("*.md")}
SIZES = ("3k", "10k", "28k")
HEADINGS = ["Use", "Results", "Training", "Gates", "Size", "Limits", "Citation"]


def results():
    """Of the quickstart's run."""
    return read_json(CARDS / "quickstart.json")


def summary():
    """The `summary.json` of `distilwhisper eval`: two models on a data set that the run knows, and one on another."""

    def score(system, data_set, wer, **other):
        row = {"system": system, "data_set": data_set, "split": "test", "language": "ca", "cer": wer / 2}
        return row | {"wer": wer, "words": 2000, "utterances": 90, "normalizer": "report", **other}

    wide = {"wer_low": 0.1, "wer_high": 0.3}
    scores = [score("base", "in-domain", 0.5), score("ours", "in-domain", 0.2, **wide), score("ours", "a|b", 0.4)]
    about = {"of": "ours", "less that of": "base", "data_set": "in-domain", "split": "test", "language": "ca"}
    difference = about | {"difference": -0.3, "low": -0.41, "high": -0.2, "real": True, "utterances": 90}
    return {"scores": scores, "differences": [difference, difference | {"of": "base", "less that of": "ours"}]}


def make(results, **settings):
    return card_of_run(results, **{"name": "me/model", **settings})


def tables(card):
    """Rows of every table in the card, as mappings from a column's name to its cell."""
    rows = []
    for block in re.findall(r"(?:^\|.*\n)+", card.text, re.MULTILINE):
        header, _, *lines = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()
        ]
        rows += [dict(zip(header, line, strict=True)) for line in lines]
    return rows
