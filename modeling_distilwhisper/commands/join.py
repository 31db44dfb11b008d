"""Join languages that were trained apart, on several machines or at several times, to one model.

    python examples/join_languages.py distilwhisper-gl distilwhisper-ca other/expert-folder --output_dir distilwhisper

The first model gives the backbone, which the others' experts must have been made on. Each language's file comes out as
it went in, so the joined model does for it what the one that it was trained in does.
"""

import argparse
import shutil
from pathlib import Path

from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor
from transformers.utils import cached_file

import modeling_distilwhisper  # noqa: F401 (registers the model)

from ..expert_file_distilwhisper import expert_file_name
from ..repository_distilwhisper import languages_in


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="folders or Hub ids, the one with the backbone first")
    parser.add_argument("--output_dir", required=True)
    args = parser.parse_args(argv)
    if any(Path(model).resolve() == Path(args.output_dir).resolve() for model in args.models):
        raise ValueError(f"{args.output_dir} is one of the models to be joined. Expected a folder of its own.")
    first, *others = args.models
    model = AutoModelForSpeechSeq2Seq.from_pretrained(first)
    origin = dict.fromkeys(model.config.languages, first)
    for other in others:
        found = languages_in(other)
        if not found:
            raise FileNotFoundError(f"{other} has no experts. Expected files such as {expert_file_name('gl')} in it.")
        for language in found:
            model.load_experts(other, language)  # refused if it is there already, or of another backbone
            origin[language] = other
    model.save_pretrained(args.output_dir)
    for language, source in origin.items():  # as they are: loading may have rounded them to the backbone's precision
        name = expert_file_name(language)
        shutil.copyfile(cached_file(source, name), Path(args.output_dir, name))
    WhisperProcessor.from_pretrained(first).save_pretrained(args.output_dir)
    print(f"{args.output_dir}: {', '.join(model.config.languages)}")


if __name__ == "__main__":
    main()
