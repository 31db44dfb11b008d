"""Makes the experts of a model small: low-rank, in 8-bit integers, or both.

    python examples/compress_experts.py distilwhisper-small-gl --rank 128 --output_dir distilwhisper-small-gl-128

The folder that it writes is a model like the other. To train it a little more, which mends what was lost:
`run_distil.py --experts_from distilwhisper-small-gl-128 ...` with the settings of the training.
"""

import sys

from modeling_distilwhisper.commands.compress import main

if __name__ == "__main__":
    sys.exit(main())
