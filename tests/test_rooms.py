"""Which subpackage (room) of the library may import which, and that there are no circular imports."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "modeling_distilwhisper"
REMOTE = "remote set"  # the files that are saved with a checkpoint: `*_distilwhisper.py`, flat at the top
WORKAROUNDS = "workarounds"  # one file at the top, for every room but the remote set
MAY_IMPORT = {
    REMOTE: set(),
    WORKAROUNDS: set(),
    "runs": {REMOTE},
    "data": {"runs"},
    "evaluation": {"data", "runs", REMOTE},
    "training": {"evaluation", "data", "runs", REMOTE},
    "transcription": {"evaluation", "data", "runs", REMOTE},
    "export": {"runs", REMOTE},
    "reporting": {"data", "runs", REMOTE},
    "serving": {"transcription", "evaluation", "data", "runs", REMOTE},
    "bias": {"evaluation", "reporting", "data", "runs", REMOTE},
    "commands": {
        *("bias", "serving", "reporting", "export", "transcription", "training", "evaluation", "data", "runs", REMOTE),
    },
}
for rooms in (rooms for room, rooms in MAY_IMPORT.items() if room not in (REMOTE, WORKAROUNDS)):
    rooms.add(WORKAROUNDS)
REMOTE_LIBRARIES = {"torch", "transformers", "huggingface_hub", "safetensors"}


@cache
def modules() -> dict[str, ast.Module]:
    """By dotted name below the package: `training.trainer`."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def room_of(module: str) -> str:
    room, _, rest = module.partition(".")
    return room if rest or room == WORKAROUNDS else REMOTE


def imports_of(module: str, tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of the package that a module imports, those inside functions too."""
    targets = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            targets |= {_known(path, known) for package, *path in parts if package == PACKAGE.name}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[:-1]
            if node.level:
                base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            elif (node.module or "").split(".")[0] == PACKAGE.name:
                base = node.module.split(".")[1:]
            else:
                continue
            base = [part for part in base if part]
            for name in node.names:
                submodule = ".".join([*base, name.name])
                targets.add(submodule if submodule in known else _known(base, known))
    return targets - {module, ""}


def _known(path: list[str], known: set[str]) -> str:
    """The dotted name of a module, or of the `__init__` of a folder."""
    return next((name for name in (".".join(path), ".".join([*path, "__init__"])) if name in known), ".".join(path))


def broken_rules(trees: dict[str, ast.Module]) -> list[str]:
    """A line for each import that the table does not allow."""
    broken = []
    for module, tree in sorted(trees.items()):
        if module == "__init__":  # the front door: it gives the public names of every room
            continue
        room = room_of(module)
        assert room in MAY_IMPORT, f"{module} is in a room that MAY_IMPORT does not know. Add a line for {room!r}."
        for target in sorted(imports_of(module, tree, set(trees))):
            other = room_of(target)
            if other != room and other not in MAY_IMPORT[room]:
                broken.append(f"{module} imports {target}: {room} may import {sorted(MAY_IMPORT[room]) or 'no room'}.")
    return broken


def circle_in(arrows: dict[str, set[str]]) -> list[str] | None:
    """The modules of the first circle of imports, in their order; `None` if there is none."""
    done: set[str] = set()

    def follow(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in sorted(arrows.get(module, ())):
            if circle := follow(target, [*path, module]):
                return circle
        done.add(module)
        return None

    return next((circle for module in sorted(arrows) if (circle := follow(module, []))), None)


def test_every_import_between_rooms_is_one_that_the_table_allows():
    broken = broken_rules(modules())
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "statement",
    [
        "from ..training.trainer import DistilWhisperTrainer",
        "from modeling_distilwhisper.training import trainer",
        "import modeling_distilwhisper.training.trainer",
        "import numpy, modeling_distilwhisper.training.trainer as trainer",
    ],
)
def test_an_import_against_the_rules_is_noticed_also_inside_a_function(statement):
    planted = ast.parse(f"def read():\n    {statement}")
    (line,) = broken_rules(modules() | {"data.planted": planted})
    assert line.startswith("data.planted imports training.trainer: data may import ['runs'")


def test_no_import_of_the_library_leads_back_to_where_it_began():
    trees = modules()
    arrows = {module: imports_of(module, tree, set(trees)) & set(trees) for module, tree in trees.items()}
    del arrows["__init__"]
    circle = circle_in(arrows)
    assert circle is None, f"These modules import each other in a circle: {' -> '.join(circle)}."
    assert circle_in(arrows | {"runs.files": {"training.trainer"}}), "a planted circle"


def test_the_rules_themselves_have_no_circle_so_that_arrows_point_downwards():
    assert circle_in(MAY_IMPORT) is None


def test_the_remote_set_imports_only_what_every_user_of_transformers_has():
    broken = []
    for module, tree in modules().items():
        if room_of(module) != REMOTE or module in ("__init__", "__main__"):
            continue
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level < 2, f"{module}: remote code may import with a single dot only."
                names = [] if node.level else [node.module]
            libraries = {name.split(".")[0] for name in names}
            broken += [
                f"{module} imports {name}" for name in libraries - REMOTE_LIBRARIES - set(sys.stdlib_module_names)
            ]
    assert not broken, f"Remote code may import {sorted(REMOTE_LIBRARIES)} alone: {'; '.join(broken)}"


def test_no_module_of_the_library_is_longer_than_330_lines():
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 330}
    assert not long, f"Split these files, one idea each: {long}"
