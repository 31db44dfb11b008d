"""Measure expert usage: the share of tokens that is routed to the expert, by model, corpus, language, side and layer.

    python examples/run_gates.py --models distilwhisper-base-ru --data prompts/{language} --languages ru \
        --output_dir gates
    python examples/run_gates.py --models distilwhisper-quickstart --languages ca hu uk --output_dir quickstart-gates \
        --data in=examples/quickstart/in_domain/{language} out=examples/quickstart/out_of_domain/{language}

Writes gates.json, a picture of expert usage over the layers, and for each model, corpus and language a picture of the
gates of the first utterance: over its time in the encoder, over its tokens in the decoder (section 5.5).
`distilwhisper gates` does the same.
"""

import sys

from modeling_distilwhisper.commands.gates import main

if __name__ == "__main__":
    sys.exit(main())
