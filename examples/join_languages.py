"""Join languages that were trained apart, on several machines or at several times, to one model.

    python examples/join_languages.py distilwhisper-gl distilwhisper-ca other/expert-folder --output_dir distilwhisper

The first model gives the backbone, which the others' experts must have been made on. Each language's file comes out as
it went in, so the joined model does for it what the one that it was trained in does.
"""

import argparse

from transformers import AutoModelForSpeechSeq2Seq, WhisperProcessor

import modeling_distilwhisper  # noqa: F401 (registers the model)
from modeling_distilwhisper.experts_distilwhisper import languages_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="folders or Hub ids, the one with the backbone first")
    parser.add_argument("--output_dir", required=True)
    args = parser.parse_args()
    first, *others = args.models
    model = AutoModelForSpeechSeq2Seq.from_pretrained(first)
    for other in others:
        for language in languages_in(other):
            model.load_experts(other, language)
    model.save_pretrained(args.output_dir)
    WhisperProcessor.from_pretrained(first).save_pretrained(args.output_dir)
    print(f"{args.output_dir}: {', '.join(model.config.languages)}")


if __name__ == "__main__":
    main()
