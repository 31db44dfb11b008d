"""What the commands share: parsers, errors of one line, missing extras, and lines for people."""

import argparse
import functools
import importlib
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import HfArgumentParser

from ..runs.settings import parse_settings

# The extra of this package (setup.cfg) that brings an optional library.
EXTRAS = {
    **{"matplotlib": "plots", "peft": "compare", "sacrebleu": "translate", "tensorboard": "tensorboard"},
    **{"pandas": "bias", "silero_vad": "bias", "gradio": "demo", "evaluate": "examples"},
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript", "ctranslate2", "faster_whisper"), "export"),
    **dict.fromkeys(("bitsandbytes", "torchao"), "quantised"),
}
# Modules whose `raise ValueError(...)` and the like are messages to the user: this package, and parsers of settings.
SPEAK_TO_USERS = (
    *(__name__.partition(".")[0], "huggingface_hub"),
    *("transformers.hf_argparser", "transformers.training_args", "transformers.training_args_seq2seq"),
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where models run unless a flag says otherwise

Main = Callable[[list[str], str], int | None]


def command(main: Main) -> Callable[..., int]:
    """Makes `main(argv, prog)` a command that a script or `distilwhisper` can start.

    Both arguments may then be left out: they come from `sys.argv`. An error that the user can mend (a wrong setting, a
    missing file or extra, the Hub's refusal) becomes one line, `prog: error: ...`, and the exit status 1. Every other
    exception keeps its traceback.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None, prog: str | None = None) -> int:
        prog = prog or Path(sys.argv[0]).name
        try:
            return main(sys.argv[1:] if argv is None else argv, prog) or 0
        except Exception as error:
            message = message_to_user(error)
            if message is None:
                raise
        print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
        return 1

    return run


def message_to_user(error: Exception) -> str | None:
    """What to tell the user in place of a traceback; `None` for an exception that nobody expected."""
    if isinstance(error, ImportError):
        library = (error.name or "").partition(".")[0]
        if library in EXTRAS:
            return missing(library)
    if isinstance(error, OSError):
        return str(error)
    if isinstance(error, (ImportError, RuntimeError, ValueError)):
        *_, (innermost, line) = traceback.walk_tb(error.__traceback__)
        raised_in = innermost.f_globals.get("__name__", "")
        on_purpose = linecache.getline(innermost.f_code.co_filename, line).lstrip().startswith("raise ")
        if on_purpose and any(raised_in == name or raised_in.startswith(f"{name}.") for name in SPEAK_TO_USERS):
            return str(error)
    return None


def missing(library: str, extra: str | None = None) -> str:
    """What to tell who lacks an optional library."""
    command = f'pip install "modeling_distilwhisper[{extra or EXTRAS[library]}]"'
    return f"this needs {library}, which is not installed. Install it: {command}"


def require(*libraries: str, extra: str | None = None) -> None:
    """Refuses to go on without optional libraries, before a command does work that needs them.

    Args:
        extra: the extra that brings all of them; by default, that of the one that is missing (`EXTRAS`).

    Raises:
        ImportError: one is not installed; the message says how to install it.
    """
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:
            raise ImportError(missing(library, extra)) from None


def import_figures():
    """The module `reporting.figures`; `None`, and one line for the user, where matplotlib is missing."""
    try:
        require("matplotlib")
    except ImportError as error:
        say(f"No pictures: {error}")
        return None
    from ..reporting import figures

    return figures


def say(text: str) -> None:
    """Prints a line for people, in the main process alone where `torchrun` started several."""
    if int(os.environ.get("RANK", "0")) == 0:
        print(text, flush=True)


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the description as it is written, defaults, and each flag once: with underscores, not with hyphens too."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if "-" not in name.removeprefix("--")]
        if action.nargs == 0 or not names:
            return super()._format_action_invocation(action)
        return f"{names[0]} {self._format_args(action, self._get_default_metavar_for_optional(action))}"


def make_parser(description: str | None, prog: str) -> argparse.ArgumentParser:
    """A parser of flags; the description is a module's docstring."""
    return argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse_dataclasses(description: str | None, argv: list[str], prog: str, *classes: type) -> tuple:
    """Settings from flags, or from a YAML or JSON file with flags behind it, as an instance of each dataclass."""
    parser = HfArgumentParser(classes, prog=prog, description=description, formatter_class=_Help)
    hide_inherited(parser, classes)
    required = " ".join(f"--{action.dest} ..." for action in parser._actions if action.required)
    parser.usage = f"%(prog)s [settings.yaml] {required} [--setting value ...]"
    try:
        return parse_settings(parser, argv)
    except ValueError as error:
        if unused := re.search(r"not used by the HfArgumentParser: (.*)", str(error)):
            parser.error(f"unknown settings: {unused[1]}. --help lists the known ones.")
        raise


def hide_inherited(parser: argparse.ArgumentParser, classes: tuple[type, ...]) -> None:
    """Leaves the settings that come from Transformers out of `--help`, but for the few that everyone needs."""
    shown = {"help", "output_dir", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_steps", "seed"}
    shown |= {"bf16", "fp16", "report_to", "use_cpu", "push_to_hub", "hub_model_id"}
    shown |= {name for one in classes for name in vars(one).get("__annotations__", {})}
    for action in parser._actions:
        if action.dest not in shown:
            action.help = argparse.SUPPRESS
            parser.epilog = "All other settings of Transformers' Seq2SeqTrainingArguments are taken as well."
