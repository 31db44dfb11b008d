"""Where the tokens go: the share that takes the expert, by model, corpus, language, side and layer.

    python examples/run_gates.py --models distilwhisper-base-ru --data prompts/{language} --languages ru \
        --output_dir gates

Writes gates.json, a picture of the shares over the layers, and for each model, corpus and language one of the gates of
the first utterance: over its time in the encoder, over its tokens in the decoder (section 5.5).
"""

import sys

from modeling_distilwhisper.commands.gates import main

if __name__ == "__main__":
    sys.exit(main())
