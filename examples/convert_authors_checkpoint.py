"""Convert a checkpoint of the method's authors into a model of this package, number for number.

    python examples/convert_authors_checkpoint.py naver/multilingual-distilwhisper-28k --output_dir distilwhisper-28k
    python examples/convert_authors_checkpoint.py checkpoint --languages ca gl --output_dir distilwhisper-ca-gl

Their experts are pickles; only tensors are read from them, never code. Anything else than such a checkpoint is refused,
and then nothing is written. The three checkpoints that they published, with all their languages, get a model card.
`distilwhisper convert-authors` does the same.
"""

import sys

from modeling_distilwhisper.commands.convert_authors import main

if __name__ == "__main__":
    sys.exit(main())
