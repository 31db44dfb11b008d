"""What training and inference cost beside plain Whisper's, on random weights.

    python examples/benchmark.py train
    python examples/benchmark.py infer

Every system is a process of its own, and they take turns, so that what else the machine does at a moment meets all.
"""

import sys

from modeling_distilwhisper.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
