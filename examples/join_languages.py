"""Join languages that were trained separately, on several machines or at several times, into one model.

    python examples/join_languages.py distilwhisper-gl distilwhisper-ca --output_dir distilwhisper-gl-ca
    python examples/join_languages.py distilwhisper-gl me/expert-folder-on-the-hub --output_dir distilwhisper

The first model gives the backbone, on which the experts of the others must have been trained.
`distilwhisper join` does the same, and copies the file of each language byte for byte.
"""

import sys

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, add_own_tokens, load_processor
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.join import parse
from modeling_distilwhisper.repository_distilwhisper import languages_in


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    first, *others = arguments.models
    model = DistilWhisperForConditionalGeneration.from_pretrained(first)
    for other in others:
        for language in languages_in(other):
            # Refused if the model has this language already, or if the experts were trained on another backbone.
            model.load_experts(other, language)
    # The tokenizer gets the tokens of languages that Whisper has none for.
    processor = load_processor(first)
    add_own_tokens(processor.tokenizer, model)
    model.save_pretrained(arguments.output_dir)
    processor.save_pretrained(arguments.output_dir)
    print(f"{arguments.output_dir}: {', '.join(model.config.languages)}")


if __name__ == "__main__":
    sys.exit(main())
