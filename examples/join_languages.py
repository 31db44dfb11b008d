"""Join languages that were trained apart, on several machines or at several times, to one model.

    python examples/join_languages.py distilwhisper-gl distilwhisper-ca other/expert-folder --output_dir distilwhisper

The first model gives the backbone, which the others' experts must have been made on. Each language's file comes out as
it went in, so the joined model does for it what the one that it was trained in does.
"""

import sys

from modeling_distilwhisper.commands.join import main

if __name__ == "__main__":
    sys.exit(main())
