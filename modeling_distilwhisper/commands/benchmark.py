"""Measure what training and inference cost, on random weights, or of your models with how well they transcribe.

    distilwhisper benchmark train         # training steps, compared with plain Whisper
    distilwhisper benchmark infer         # encoder and decoder, compared with plain Whisper
    distilwhisper benchmark quality --models plain=openai/whisper-base ours=distilwhisper-base-ru ...
    distilwhisper benchmark transcribe --model distilwhisper-base-ru --plain openai/whisper-base ...

Each system is a process, and the processes take turns, so that whatever else the machine does slows all of them alike.
"""

import importlib
import sys
from pathlib import Path

from .benchmarks import inference, training
from .benchmarks.whispers import SIZES
from .command_line import DEVICE, command, make_parser

ON_RANDOM_WEIGHTS = {"train": training, "infer": inference}
ON_SPEECH = {"quality": "quality", "transcribe": "transcribing"}  # with the modules that have them


@command
def main(argv: list[str], prog: str) -> None:
    if argv and argv[0] in ON_SPEECH:
        # Here alone: it needs libraries that read speech.
        module = importlib.import_module(f".benchmarks.{ON_SPEECH[argv[0]]}", __package__)
        return module.main(argv[1:], f"{prog} {argv[0]}")
    parser = make_parser(__doc__, prog)
    modes = parser.add_subparsers(dest="mode", required=True, help="what to measure")
    for name, module in ON_RANDOM_WEIGHTS.items():
        mode = modes.add_parser(name, description=module.__doc__, formatter_class=parser.formatter_class)
        mode.add_argument("--size", choices=SIZES, default="base", help="a published size, or the least, for a try")
        mode.add_argument("--rounds", type=int, default=9, help="measurements of each system")
        mode.add_argument("--device", choices=["cpu", "cuda"], default=DEVICE, help="where the models run")
        mode.add_argument("--output", type=Path, help="a JSON file for every measurement, besides the table")
        module.add_arguments(mode)
        mode.set_defaults(run=module.run)
    for name in ON_SPEECH:  # so that they are listed; they have their own parsers
        modes.add_parser(name, add_help=False)
    arguments = parser.parse_args(argv)
    arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
