"""Turns a checkpoint of the method's authors into a model of this package, number for number.

    python examples/convert_authors_checkpoint.py naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k

Their experts are pickles, of which only tensors are read, never code. What is not exactly such a checkpoint is refused,
and then nothing is written. For one of the three that they published, with all of its languages, the folder gets its
card from model_cards/.
"""

import sys

from modeling_distilwhisper.commands.convert_authors import main

if __name__ == "__main__":
    sys.exit(main())
