"""Make the experts of a model smaller: low rank, 8-bit integers, or both.

    python examples/compress_experts.py distilwhisper-small-gl --rank 128 --output_dir distilwhisper-small-gl-128
    python examples/compress_experts.py distilwhisper-small-gl --int8 --output_dir distilwhisper-small-gl-int8

The output folder is a model like the first one. To train it a little more, which regains what was lost:
`run_distil.py --experts_from distilwhisper-small-gl-128 ...` with the settings of the training.
`distilwhisper compress` does the same.
"""

import sys

from modeling_distilwhisper.commands.compress import main

if __name__ == "__main__":
    sys.exit(main())
