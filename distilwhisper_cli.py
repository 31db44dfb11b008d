"""The `distilwhisper` command: finds a command by its name and starts it.

This file is next to the package `modeling_distilwhisper`, not in it: the package imports PyTorch and Transformers. That
takes seconds, and `distilwhisper --help` needs neither.
"""

import difflib
import importlib
import re
import sys
from pathlib import Path

# Groups of commands. Each command: its module in `modeling_distilwhisper/commands/`, and one line about it.
GROUPS = {
    "Train and evaluate": {
        "train": ("train", "train language experts, with or without a teacher, and score them before and after"),
        "cache-teacher": ("cache_teacher", "store a teacher's predictions, to train without the teacher in memory"),
        "pseudo-label": ("pseudo_label", "label speech without transcripts, and choose what a training may learn from"),
        "fit-detection": ("fit_detection", "train what tells the speech of a model's languages from that of others"),
        "eval": ("evaluate", "score Whisper models on the same speech: WER or BLEU, intervals, differences"),
        "compare": ("compare", "train one student in several ways on the same data, and compare their scores"),
    },
    "Use": {
        "transcribe": ("transcribe", "transcribe recordings of any length, to text, subtitles or JSON"),
        "serve": ("serve", "serve a model by OpenAI's audio API: requests of all languages share batches"),
        "demo": ("demo", "open a web page: plain Whisper next to the experts, on your own recordings"),
    },
    "Understand": {
        "gates": ("gates", "measure and draw which share of the tokens is routed to the experts"),
        "bias": ("bias", "compare error rates of groups of speakers, before and after compression"),
        "benchmark": ("benchmark", "measure the time and memory of training and inference"),
    },
    "Change a model": {
        "join": ("join", "join languages that were trained separately into one model"),
        "compress": ("compress", "make experts smaller: low rank, 8-bit integers, or both"),
        "export": ("export", "export one language as a plain Whisper, or as ONNX (--format onnx)"),
        "convert-authors": ("convert_authors", "convert a checkpoint of the method's authors"),
    },
    "Publish": {
        "card": ("card", "write the model card of a run"),
        "push": ("push", "push a model, or the experts of some languages, to the Hugging Face Hub"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0 if it succeeded, 1 if it failed, 2 if it was called wrongly."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments:
        print(overview(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        print(f"distilwhisper {version()}")
        return 0
    if name not in COMMANDS:
        print(f"distilwhisper: error: {unknown(name)}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[name]
    command = importlib.import_module(f"modeling_distilwhisper.commands.{module}")
    return command.main(rest, prog=f"distilwhisper {name}")


def overview() -> str:
    """The text of `distilwhisper --help`."""
    lines = [
        "usage: distilwhisper COMMAND ...",
        "",
        "Whisper with language experts: train, evaluate, use and publish it.",
    ]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:<16}{line}" for name, (_, line) in commands.items())]
    lines += [
        "",
        "`distilwhisper COMMAND --help` shows the settings of a command; `distilwhisper --version` the version.",
    ]
    return "\n".join(lines)


def unknown(name: str) -> str:
    """The message for a command that does not exist."""
    near = difflib.get_close_matches(name.replace("_", "-"), COMMANDS, n=1, cutoff=0.4)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"there is no command {name!r}.{guess} Expected one of: {', '.join(COMMANDS)}."


def version() -> str:
    """Read from the package's first file, since to import it takes seconds."""
    source = Path(__file__).with_name("modeling_distilwhisper").joinpath("__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)[0]


if __name__ == "__main__":
    sys.exit(main())
