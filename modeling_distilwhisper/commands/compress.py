"""Make the experts of a model smaller: low rank, 8-bit integers, or both.

    distilwhisper compress distilwhisper-small-gl --rank 128 --output_dir distilwhisper-small-gl-128

The output folder is a model like the first one. To train it a little more, which regains most of the lost accuracy:
`distilwhisper train --experts_from distilwhisper-small-gl-128 ...` with the settings of the training.
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from ..expert_file_distilwhisper import expert_file_name
from ..export.low_rank import compress_experts
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..names_distilwhisper import hide_paths
from ..reporting.model_card import count_parameters
from ..runs.any_whisper import load_processor
from ..runs.files import is_taken, staged_folder
from .command_line import command, make_parser


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    model = DistilWhisperForConditionalGeneration.from_pretrained(arguments.model, languages=arguments.languages)
    before = {language: count_parameters(model.experts_of(language).values()) for language in model.config.languages}
    if arguments.rank is not None:
        compress_experts(model, arguments.rank)
    processor = load_processor(arguments.model)
    with staged_folder(arguments.output_dir) as staged:
        model.save_pretrained(staged, save_backbone=not arguments.no_backbone)
        if arguments.int8:
            model.save_experts(staged, int8=True)
        processor.save_pretrained(staged)
        hide_paths(staged, keep_base_model=arguments.no_backbone)
    rows = [
        {
            "language": language,
            "weights, M": count_parameters(model.experts_of(language).values()) / 1e6,
            "of": before[language] / 1e6,
            "file, MB": (arguments.output_dir / expert_file_name(language)).stat().st_size / 1e6,
        }
        for language in model.config.languages
    ]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("model", help="folder or Hub id of a model with full experts")
    parser.add_argument("--output_dir", required=True, type=Path, help="a new folder")
    parser.add_argument("--languages", nargs="+", help="whose experts; by default all that the model has")
    parser.add_argument("--rank", type=int, help="of the update to each matrix; without it experts stay full")
    parser.add_argument(
        "--int8", action="store_true", help="store matrices as 8-bit integers with a scale for each row"
    )
    parser.add_argument("--no_backbone", action="store_true", help="write the experts alone")
    arguments = parser.parse_args(argv)
    if is_taken(arguments.output_dir):
        parser.error(f"{arguments.output_dir} exists already. Name a new folder.")
    if arguments.rank is None and not arguments.int8:
        parser.error("there is nothing to do without --rank or --int8.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
