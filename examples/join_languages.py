"""Join languages that were trained separately, on several machines or at several times, into one model.

    python examples/join_languages.py distilwhisper-gl distilwhisper-ca --output_dir distilwhisper-gl-ca
    python examples/join_languages.py distilwhisper-gl me/expert-folder-on-the-hub --output_dir distilwhisper

The first model gives the backbone, on which the experts of the others must have been trained. The file of each language
is copied byte for byte, so the joined model transcribes it as the model that it comes from. `distilwhisper join` does
the same.
"""

import sys

from modeling_distilwhisper.commands.join import main

if __name__ == "__main__":
    sys.exit(main())
