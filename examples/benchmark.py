"""Measure what training and inference cost beside plain Whisper's, on random weights.

    python examples/benchmark.py train --size small --device cuda
    python examples/benchmark.py infer

Each system is a process, and the processes take turns, so that whatever else the machine does slows all of them alike.
`distilwhisper benchmark` does the same.
"""

import sys

from modeling_distilwhisper.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
