"""What training and inference cost beside plain Whisper's, on random weights.

    python examples/benchmark.py train
    python examples/benchmark.py infer

Every system is a process of its own, and they take turns, so that what else the machine does at a moment meets all.
"""

import argparse

import torch

from .benchmarks import inference, training
from .benchmarks.whispers import SIZES


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    for name, module in {"train": training, "infer": inference}.items():
        own = what.add_parser(name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        own.add_argument("--size", choices=SIZES, default="base")
        own.add_argument("--rounds", type=int, default=9, help="times that count of each")
        gpu = torch.cuda.is_available()
        own.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if gpu else "cpu")
        module.add_arguments(own)
        own.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    main()
