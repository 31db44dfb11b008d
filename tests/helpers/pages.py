"""The commands and programs in the docs, as they stand there, and which scripts tests run."""

import glob
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASKS = ("docs/install.md", "docs/use.md", "docs/train.md", "docs/evaluate.md", "docs/deploy.md")
EXAMPLES = (
    "examples/bias/README.md",
    "examples/new_language/README.md",
    "examples/paper/README.md",
    "examples/quickstart/README.md",
)
OTHERS = ("CONTRIBUTING.md", "docs/serve.md", "docs/new_languages.md", "docs/unlabelled.md", "docs/your_language.md")
OTHERS += ("model_cards/README.md",)
NAMES = ("README.md", *TASKS, *OTHERS, *EXAMPLES)
PAGES = {name: ROOT / name for name in NAMES}

PYTHON = ("python", "python3")
# Behind the flags of the docs, whose last one counts.
BRIEF = ["--max_rows", "2", "--num_train_epochs", "1", "--per_device_train_batch_size", "2", "--bf16", "false"]
BRIEF += ["--generation_max_length", "12", "--report_to", "none", "--use_cpu", "true", "--dataloader_num_workers", "0"]
FEW = ["--max_rows", "2"]
# Scripts that run here, with what makes them brief.
RUN = {
    "examples/run_distil.py": BRIEF,
    "examples/run_cache_teacher.py": FEW,
    "examples/pseudo_label.py": ["--vad", "none", "--at_least", "--keep_doubtful"],  # tones are no speech
    "examples/run_eval.py": FEW,
    "examples/fit_detection.py": FEW,
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
    "examples/serve.py": "Ray: tests/serving/test_server.py",
    "examples/paper/report_cards.py": "it writes into the package",
}


# The command of `distilwhisper` that does the same as a script.
SAME = {
    "train": "run_distil",
    "cache-teacher": "run_cache_teacher",
    "pseudo-label": "pseudo_label",
    "fit-detection": "fit_detection",
    "eval": "run_eval",
    "compare": "compare",
    "transcribe": "transcribe",
    "demo": "demo",
    "serve": "serve",
    "gates": "run_gates",
    "bias": "run_bias",
    "benchmark": "benchmark",
    "join": "join_languages",
    "compress": "compress_experts",
    "export": "export_whisper",
    "export --format onnx": "export_onnx",
    "convert-authors": "convert_authors_checkpoint",
    "card": "make_card",
}
SAME = {f"distilwhisper {command}": f"examples/{script}.py" for command, script in SAME.items()}
RUN |= {command: RUN[script] for command, script in SAME.items() if script in RUN}
RUN["distilwhisper push"] = []
PARSED |= {command: PARSED[script] for command, script in SAME.items() if script in PARSED}


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
    """Script and arguments of a command that starts one of ours, itself or by torchrun; or the name of a command of
    `distilwhisper`, as in `SAME`, and its arguments."""
    if program(command) == "torchrun":
        from torch.distributed.run import get_args_parser

        parsed = get_args_parser().parse_args(command[1:])
        command = [PYTHON[0], parsed.training_script, *parsed.training_script_args]
        if parsed.module and parsed.training_script == "modeling_distilwhisper":
            command = ["distilwhisper", *parsed.training_script_args]
    if program(command) == "distilwhisper" and not command[1].startswith("-"):
        words = with_files(command[1:])
        name = f"distilwhisper {' '.join(words[:3])}"
        return [name, *words[3:]] if name in SAME else [f"distilwhisper {words[0]}", *words[1:]]
    if program(command) in PYTHON and command[1].endswith(".py"):
        return with_files(command[1:])
    return None


def with_files(words: list[str]) -> list[str]:
    """The words of a command, with the repository's files in place of patterns such as `examples/*.ogg`."""
    return [file for word in words for file in (sorted(glob.glob(word, root_dir=ROOT)) or [word])]
