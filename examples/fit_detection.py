"""Fit detection rows: what tells the speech of a model's languages from that of others, also of new names.

    python examples/fit_detection.py --model distilwhisper-small-ga --data "recordings/{language}" --languages ga en cy

`distilwhisper fit-detection` does the same, and prints which share of the recordings is detected before and after.
"""

import sys
from pathlib import Path

from modeling_distilwhisper import (
    DistilWhisperForConditionalGeneration,
    detection_states,
    fit_detection,
    load_processor,
    parse_sources,
    read_audio,
    read_sources,
)
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.fit_detection import parse, save


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    folder = Path(arguments.model)
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder).to(arguments.device).eval()
    processor = load_processor(arguments.model)
    sources = parse_sources(arguments.data, arguments.languages)

    # What Whisper's decoder makes of each recording after the start token: its language tokens' logits come from it.
    states = {split: {} for split in ("train", "validation")}
    for split, by_language in states.items():
        for language in arguments.languages:
            rows = read_sources(sources, split, [language])
            clips = (read_audio(audio) for audio in rows["audio"][: arguments.max_rows])
            by_language[language] = detection_states(model, processor, clips, arguments.batch_size)

    # A row of numbers for each language with experts, in the place of its token's logit, in the file of the experts.
    languages = [name for name in arguments.rows or arguments.languages if name in model.config.languages]
    fitted = fit_detection(model, states["train"], languages, states["validation"])
    save(model, folder, languages)
    print(
        f"{folder}: rows of {', '.join(languages)}; loss {fitted['loss_before']:.3f} before, {fitted['loss']:.3f} after"
    )


if __name__ == "__main__":
    sys.exit(main())
