"""What the commands share: parsers, errors as one line, and lines for people, from one process of several."""

import argparse
import functools
import inspect
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import torch
from transformers import HfArgumentParser

from ..detection_distilwhisper import KINDS
from ..language_names_distilwhisper import language_name
from ..runs.any_whisper import expert_languages, name_models
from ..runs.extras import require
from ..runs.language_codes import chosen_languages
from ..runs.lock import released_at_the_end
from ..runs.numbers import FINITE, RANGES
from ..runs.old_names import with_new_flags
from ..runs.processes import is_main_process, own_device, process_index, quiet_but_errors
from ..runs.settings import parse_settings
from .errors import TRACEBACK, message_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where models run unless a flag gives another device
MOMENT = 4  # seconds, in which the main process reaches an error that all processes have, and ends

Main = Callable[[list[str], str], int | None]


def command(main: Main) -> Callable[..., int]:
    """Makes `main(argv, prog)` a command that a script or `distilwhisper` can start.

    Both arguments may then be left out: they come from `sys.argv`. Flags of earlier versions are read with a warning.
    What the user can mend (a wrong setting, a damaged file, a full disk, an answer of the Hub) becomes one line,
    `prog: error: ...`, and the exit status 1. All other exceptions keep their traceback, as these do where the
    environment variable `DISTILWHISPER_TRACEBACK` is 1. Of several processes that work together the main one prints;
    of each other process only its error is seen.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None, prog: str | None = None) -> int:
        prog = prog or Path(sys.argv[0]).name
        try:
            with released_at_the_end(prog), printed_by_main():
                return main(with_new_flags(sys.argv[1:] if argv is None else argv), prog) or 0
        except KeyboardInterrupt:
            say(f"{prog}: interrupted", sys.stderr)
            return 130
        except Exception as error:
            message = message_of(error)
            if message is None or os.environ.get(TRACEBACK) == "1":
                raise
        where = "" if is_main_process() else f"process {process_index()}: "
        print(f"{prog}: error: {where}{' '.join(message.split())}", file=sys.stderr)
        return 1

    return run


@contextmanager
def printed_by_main() -> Iterator[None]:
    """Within it, only the main process prints. Another one that fails gives the main one a moment to say it first: if
    that has the same error, the launcher then ends this process, and the user mostly reads the error once."""
    if is_main_process():
        yield
        return
    quiet_but_errors()
    printed = io.StringIO()
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(printed):
            yield
    except SystemExit as end:
        if end.code:
            time.sleep(MOMENT)
            print(printed.getvalue(), file=sys.stderr)  # of a parser: what is wrong with a flag
        raise
    except Exception:
        time.sleep(MOMENT)
        raise


def import_figures():
    """The module `reporting.figures`; without matplotlib, `None` and a line for the user."""
    try:
        require("matplotlib")
    except ImportError as error:
        say(f"No pictures: {error}")
        return None
    from ..reporting import figures

    return figures


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a line for people; where `torchrun` started several processes, only the main one prints."""
    if is_main_process():
        print(text, file=file, flush=True)


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the description as it is written, defaults, and each flag once: with underscores, not with hyphens too."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if "-" not in name.removeprefix("--")]
        if action.nargs == 0 or not names:
            return super()._format_action_invocation(action)
        return f"{names[0]} {self._format_args(action, self._get_default_metavar_for_optional(action))}"


def device(name: str) -> str:
    """The name of a device on which models can run here, as a type of `argparse`. "cuda" is each process's own GPU."""
    try:
        name = own_device(name)
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        known += ["mps"] if torch.backends.mps.is_available() else []
        reason = str(error).partition("\n")[0].rstrip(".")
        raise argparse.ArgumentTypeError(
            f"expected a device of this machine, such as {', '.join(known)}, got {name!r} ({reason[:120]})"
        ) from None
    return name


# By the name of a setting: what checks its value.
CHECKED: dict[str, Callable[[str], Any]] = {**RANGES, "device": device}


class Parser(argparse.ArgumentParser):
    """A parser whose numbers and devices are checked (`CHECKED`)."""

    def add_argument(self, *names, **settings):
        action = super().add_argument(*names, **settings)
        check_values(action)
        return action


def check_values(action: argparse.Action) -> None:
    """Makes a setting refuse values that it cannot take, by its name. No number is infinite or none at all."""
    if action.nargs != 0:
        action.type = CHECKED.get(action.dest, FINITE if action.type is float else action.type)


def make_parser(description: str | None, prog: str) -> argparse.ArgumentParser:
    """A parser of flags; the description is a module's docstring."""
    return Parser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_detection(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how a language is detected where none is given."""
    parser.add_argument(
        "--candidate_languages",
        nargs="+",
        help="codes of the languages to choose from where it is detected, or 'experts': those with experts",
    )
    parser.add_argument(
        "--detection",
        choices=KINDS,
        default=KINDS[0],
        help="how it is detected: by Whisper itself, or by detection rows that were trained",
    )


def parse_dataclasses(description: str | None, argv: list[str], prog: str, *classes: type) -> tuple:
    """Settings from flags, or from a YAML or JSON file and flags after it, as an instance of each dataclass.

    Languages are Whisper's codes then, or names of experts, however they were written.
    """
    parser = HfArgumentParser(classes, prog=prog, description=description, formatter_class=_Help)
    hide_inherited(parser, classes)
    for action in parser._actions:
        check_values(action)
    required = " ".join(f"--{action.dest} ..." for action in parser._actions if action.required)
    parser.usage = f"%(prog)s [settings.yaml] {required} [--setting value ...]"
    try:
        parsed = parse_settings(parser, argv)
    except ValueError as error:
        if unused := re.search(r"not used by the HfArgumentParser: (.*)", str(error)):
            parser.error(f"unknown settings: {unused[1]}. --help lists the known ones.")
        raise
    given = {name: value for settings in parsed for name, value in vars(settings).items()}
    for settings in parsed:
        for name in {"languages", "test_languages"} & vars(settings).keys():
            written = getattr(settings, name)
            chosen = chosen_languages(written, own_names(given, written))
            for before in written:
                if "-" in before and before.split("-")[0] in chosen and "init_from" in given:
                    code = before.split("-")[0]
                    say(f"{before} is read as {code}. For experts of its own: --init_from {before}={code}")
            setattr(settings, name, chosen)
    return parsed


def own_names(given: Mapping[str, Any], written: Iterable[str]) -> set[str]:
    """The names of languages that are to be taken as they are, `de-CH` as no `de`.

    Args:
        given: the settings of a command. Names of `init_from` count, and those of the models' experts.
        written: the languages that are asked for.
    """
    own = {word.partition("=")[0] for word in given.get("init_from") or ()}
    if any(re.search("[-_]", one) for one in written):  # else no model need be asked
        models = [given.get(name) for name in ("student", "model", "experts_from")]
        models += name_models(given.get("models") or []).values()
        for location in filter(None, models):
            try:
                own.update(expert_languages(location))
            except (OSError, ValueError):  # whoever loads it will say what is wrong
                continue
    return {name for name in map(_name, own) if name}


def _name(tag: str) -> str | None:
    try:
        return language_name(tag)
    except ValueError:
        return None


def hide_inherited(parser: argparse.ArgumentParser, classes: tuple[type, ...]) -> None:
    """Hides the settings that come from Transformers in `--help`, except the few that everyone needs."""
    shown = {"help", "output_dir", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_steps", "seed"}
    shown |= {"bf16", "fp16", "report_to", "use_cpu", "push_to_hub", "hub_model_id"}
    shown |= {name for one in classes for name in inspect.get_annotations(one)}
    for action in parser._actions:
        if action.dest not in shown:
            action.help = argparse.SUPPRESS
            parser.epilog = "All other settings of Transformers' Seq2SeqTrainingArguments work too."
