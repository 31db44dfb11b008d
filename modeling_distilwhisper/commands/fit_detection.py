"""Fit detection rows: what tells the speech of a model's languages from that of others, also of new names.

    distilwhisper fit-detection --model distilwhisper-base-ga --data "recordings/{language}" --languages ga en cy

Whisper detects a language by its token. A language that Whisper has no token for, and one that it confuses with others,
gets a row of numbers in its file of experts instead: it is used where detection="trained" asks for it, and Whisper's
own detection stays as it is. --languages are those with recordings, to be told apart; of these, all that the model has
experts for get a row, or those that --rows names. The files of the model's folder are replaced when all is fitted.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tabulate import tabulate
from tqdm.auto import tqdm
from transformers.utils import CONFIG_NAME

from ..data.audio import read_audio
from ..data.selection import read_rows
from ..data.sources import SPEC_FORM, parse_sources
from ..expert_file_distilwhisper import expert_file_name
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..repository_distilwhisper import read_config
from ..runs.any_whisper import load_processor
from ..runs.files import staged_folder
from ..runs.lock import hold
from ..training.detection import detection_states, fit_detection
from .command_line import DEVICE, command, parse_dataclasses, say

SPLITS = ("train", "validation")
PART = ".detection_"  # in the names of the tensors that are fitted


@dataclass
class DetectionArguments:
    """The settings of a fit."""

    model: str = field(metadata={"help": "Folder of a model with experts, whose files are replaced."})
    data: list[str] = field(metadata={"help": f"{SPEC_FORM}; their train and validation splits are used."})
    languages: list[str] = field(metadata={"help": "Languages with recordings, to be told apart: at least two."})
    rows: list[str] = field(
        default_factory=list, metadata={"help": "Those that get a row; by default all that have experts."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most this many recordings of each split."})
    batch_size: int = field(default=16, metadata={"help": "Recordings at a time."})
    device: str = field(default=DEVICE, metadata={"help": "Where the model runs: cpu, cuda, mps."})


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    folder = Path(arguments.model)
    hold(folder)
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder).to(arguments.device).eval()
    asked = [*map(model.language_called, arguments.rows)] or arguments.languages
    rows = [name for name in asked if name in (model.config.languages or [])]
    if missing := [name for name in asked if name not in rows and (arguments.rows or not rows)]:
        raise ValueError(f"{folder} has no experts of {missing}, so there is no file for their rows.")
    processor = load_processor(arguments.model)
    states: dict[str, dict[str, torch.Tensor]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for language in arguments.languages:
            states[split][language] = states_of(model, processor, split, language, arguments)
    before = shares_detected(model, states["validation"], "whisper")
    fitted = fit_detection(model, states["train"], rows, states["validation"])
    after = shares_detected(model, states["validation"], "trained")
    save(model, folder, rows)
    table = [
        {
            "language": language,
            "row": "yes" if language in rows else "",
            "train": len(states["train"][language]),
            "validation": len(states["validation"][language]),
            "Whisper's own": before[language],
            "trained": after[language],
        }
        for language in arguments.languages
    ]
    print(tabulate(table, headers="keys", floatfmt=".3f"))
    print(
        "\nThe last two columns: share of validation recordings whose language is detected, among all of the model's. "
        f"Loss {fitted['loss_before']:.3f} before, {fitted['loss']:.3f} after. The rows are in {folder}."
    )


def parse(argv: list[str], prog: str) -> DetectionArguments:
    """The settings.

    Raises:
        ValueError: the model is no folder, whose files could be replaced.
    """
    (arguments,) = parse_dataclasses(__doc__, argv, prog, DetectionArguments)
    if not Path(arguments.model).is_dir():
        raise ValueError(f"Expected a folder, whose files are replaced, got {arguments.model!r}. Download it first.")
    return arguments


def states_of(model, processor, split: str, language: str, arguments: DetectionArguments) -> torch.Tensor:
    """The detection states of the recordings of one language and split, of all corpora."""
    parts = []
    for source in parse_sources(arguments.data, arguments.languages):
        selection = read_rows(source, split, language, max_rows=arguments.max_rows, purpose="fit detection on")
        say(str(selection))
        clips = (read_audio(row["audio"]) for row in selection.rows)
        with tqdm(total=len(selection.rows), desc=selection.title, unit="recording") as bar:
            parts.append(detection_states(model, processor, clips, arguments.batch_size, bar.update))
    return torch.cat(parts)


def shares_detected(model, states: dict[str, torch.Tensor], detection: str) -> dict[str, float]:
    """By language, the share of recordings that is detected as it."""
    shares = {}
    for language, of_language in states.items():
        logits, tokens = model.logits_of_languages(of_language.to(model.device, model.dtype), detection=detection)
        token = model.language_tokens().get(language, -1)
        shares[language] = float((tokens[logits.argmax(dim=1)] == token).float().mean()) if len(of_language) else 0.0
    return shares


def save(model: DistilWhisperForConditionalGeneration, folder: Path, rows: list[str]) -> None:
    """Replaces the experts' files of these languages, and the config, which moves last."""
    config = read_config(folder / CONFIG_NAME, str(folder / CONFIG_NAME))
    config["detection_languages"] = model.config.detection_languages
    with staged_folder(folder) as staged:
        for language in rows:
            name = expert_file_name(language)
            with safe_open(folder / name, "pt") as file:  # all else stays as it is, also in 8 bits
                metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
            fitted = {key: value for key, value in model.modules_of(language).tensors(language).items() if PART in key}
            save_file(tensors | {key: value.cpu() for key, value in fitted.items()}, staged / name, metadata)
        (staged / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
