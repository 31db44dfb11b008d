"""Write the model card of a run: README.md for the Hub, from its results.json and, if given, an evaluation of it.

    python examples/make_card.py distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0
    python examples/make_card.py distilwhisper-small-gl --name org/distilwhisper-small-gl --license apache-2.0 \
        --evaluation scores/summary.json --bias bias --system ours

`run_distil.py` writes a card at its end already; this adds a name on the Hub, a licence, scores of `run_eval.py`, and
error rates of groups of speakers by `run_bias.py`. Run it before you add words of your own: a card that somebody has
edited is left alone, until it is deleted or moved. `distilwhisper card` does the same.
"""

import sys

from modeling_distilwhisper.commands.card import main

if __name__ == "__main__":
    sys.exit(main())
