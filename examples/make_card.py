"""Writes the model card of a run: README.md for the Hub, from its results.json and, if given, an evaluation of it.

    python examples/make_card.py distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0 \
        --evaluation scores/summary.json --bias bias --system ours

`run_distil.py` writes one at its end already; this adds a name on the Hub, a licence, scores of `run_eval.py` and what
`run_bias.py` found of groups of speakers. So it comes before any words of one's own: a card that somebody has edited is
left alone, until it is deleted or moved.
"""

import sys

from modeling_distilwhisper.commands.card import main

if __name__ == "__main__":
    sys.exit(main())
