"""Make the experts of a model smaller: low rank, 8-bit integers, or both.

    python examples/compress_experts.py distilwhisper-small-gl --rank 128 --output_dir distilwhisper-small-gl-128
    python examples/compress_experts.py distilwhisper-small-gl --int8 --output_dir distilwhisper-small-gl-int8

The output folder is a model like the first one. To train it a little more, which regains most of the lost accuracy:
`run_distil.py --experts_from distilwhisper-small-gl-128 ...` with the settings of the training.
`distilwhisper compress` does the same, and prints the sizes before and after.
"""

import sys

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, compress_experts, load_processor
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.compress import parse


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    model = DistilWhisperForConditionalGeneration.from_pretrained(arguments.model, languages=arguments.languages)

    # The difference between expert and shared feed-forward, matrix by matrix, as a product of two thin matrices.
    if arguments.rank is not None:
        compress_experts(model, arguments.rank)
    model.save_pretrained(arguments.output_dir, save_backbone=not arguments.no_backbone)

    # Matrices as 8-bit integers, with a scale for each row: a fourth of the file.
    if arguments.int8:
        model.save_experts(arguments.output_dir, int8=True)
    load_processor(arguments.model).save_pretrained(arguments.output_dir)

    for path in sorted(arguments.output_dir.glob("expert.*.safetensors")):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
