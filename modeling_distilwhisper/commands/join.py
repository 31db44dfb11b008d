"""Join languages that were trained separately, on several machines or at several times, into one model.

    distilwhisper join distilwhisper-gl distilwhisper-ca other/expert-folder --output_dir distilwhisper

The first model gives the backbone, on which the experts of the others must have been trained. The file of each language
is copied byte for byte, so the joined model transcribes it as the model that it comes from does.
"""

import argparse
import shutil
import sys
from pathlib import Path

from transformers.utils import cached_file

from ..expert_file_distilwhisper import expert_file_name
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..names_distilwhisper import hide_paths
from ..own_tokens_distilwhisper import add_own_tokens
from ..repository_distilwhisper import languages_in
from ..runs.any_whisper import load_processor
from ..runs.files import staged_folder
from .command_line import command, make_parser


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    first, *others = arguments.models
    model = DistilWhisperForConditionalGeneration.from_pretrained(first)
    origin = dict.fromkeys(model.config.languages, first)
    for other in others:
        languages = languages_in(other)
        if not languages:
            raise FileNotFoundError(f"{other} has no experts. Expected files such as {expert_file_name('gl')} in it.")
        for language in languages:
            model.load_experts(other, language)  # refused if the model has it already, or if its backbone differs
            origin[language] = other
    processor = load_processor(first)
    add_own_tokens(processor.tokenizer, model)
    with staged_folder(arguments.output_dir) as staged:
        model.save_pretrained(staged)
        for language, source in origin.items():  # copied: loading may have rounded them to the backbone's precision
            name = expert_file_name(language)
            shutil.copyfile(cached_file(source, name), staged / name)
        processor.save_pretrained(staged)
        hide_paths(staged)
    print(f"{arguments.output_dir}: {', '.join(model.config.languages)}")


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("models", nargs="+", help="folders or Hub ids, the one with the backbone first")
    parser.add_argument("--output_dir", required=True, help="a folder that is none of the models")
    arguments = parser.parse_args(argv)
    if any(Path(model).resolve() == Path(arguments.output_dir).resolve() for model in arguments.models):
        parser.error(f"--output_dir {arguments.output_dir} is one of the models to join. Name another folder.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
