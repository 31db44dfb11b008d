"""The commands and programs in the docs, as they stand there, and which scripts tests run."""

import glob
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASKS = ("docs/use.md", "docs/train.md", "docs/evaluate.md", "docs/deploy.md")
PAGES = {name: ROOT / name for name in ("README.md", *TASKS, "CONTRIBUTING.md", "docs/your_language.md")}

PYTHON = ("python", "python3")
# Behind the flags of the docs, whose last one counts.
BRIEF = ["--max_rows", "2", "--num_train_epochs", "1", "--per_device_train_batch_size", "2", "--bf16", "false"]
BRIEF += ["--generation_max_length", "12", "--report_to", "none", "--use_cpu", "true", "--dataloader_num_workers", "0"]
FEW = ["--max_rows", "2"]
# Scripts that run here, with what makes them brief.
RUN = {
    "examples/run_distil.py": BRIEF,
    "examples/run_cache_teacher.py": FEW,
    "examples/run_eval.py": FEW,
    "examples/run_gates.py": FEW,
    "examples/export_whisper.py": FEW,
    "examples/transcribe.py": [],
    "examples/compress_experts.py": [],
    "examples/export_onnx.py": [],
    "examples/join_languages.py": [],
    "examples/make_card.py": [],
    "examples/convert_authors_checkpoint.py": [],
    "examples/paper/reproduce.py": [],
}
# Those that other tests run, or that need packages of a distribution, a GPU or minutes: their parsers have to take it.
PARSED = {
    "examples/run_bias.py": "FLEURS and Common Voice",
    "examples/get_prompts.py": "apt-get",
    "examples/benchmark.py": "minutes",
    "examples/compare.py": "processes of its own: tests/commands/test_compare.py",
    "examples/demo.py": "a browser: tests/commands/test_demo.py",
}


@dataclass
class Block:
    language: str  # as the page names it
    text: str
    place: str  # page and line


def blocks(page: str) -> list[Block]:
    """Every block of code of a page, in their order.

    Raises:
        ValueError: a block is indented, has no language, or is not closed.
    """
    text = PAGES[page].read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    read = [Block(one[1], one[2], f"{page}:{text.count(chr(10), 0, one.start()) + 1}") for one in found]
    if text.count("```") != 2 * len(read):
        raise ValueError(f"{page} has code that is in no block with a language at the beginning of a line.")
    return read


def commands(block: Block) -> list[list[str]]:
    """Each command of a block of shell, as its words; a loop is a command of `bash`."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("for "):
            found.append(["bash", "-c", line])
            continue
        words = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, "&&"]:
            if word == "&&":
                found += [command] if command else []
                command = []
            else:
                command.append(word)
    return found


def program(command: list[str]) -> str:
    return command[0].removeprefix(".venv/bin/")


def script_of(command: list[str]) -> list[str] | None:
    """Script and arguments of a command that starts one of ours, itself or by torchrun."""
    if program(command) == "torchrun":
        from torch.distributed.run import get_args_parser

        told = get_args_parser().parse_args(command[1:])
        command = [PYTHON[0], told.training_script, *told.training_script_args]
    if program(command) in PYTHON and command[1].endswith(".py"):
        return [word for one in command[1:] for word in (sorted(glob.glob(one, root_dir=ROOT)) or [one])]
    return None
