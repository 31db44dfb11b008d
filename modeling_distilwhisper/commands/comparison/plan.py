"""The file of a comparison: which systems are trained with which settings and seeds, and which are compared."""

from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.hf_argparser import string_to_bool

from ...runs.files import file_name
from ...runs.forms import check_form
from ...runs.language_codes import chosen_languages
from ...runs.settings import split_name
from ...runs.settings_file import read_settings
from ..command_line import own_names

LISTS = ("data", "train_data", "test_data", "languages", "test_languages", "init_from")  # one value needs no brackets
# A line of a file for each setting that it must have.
EXPECTED = {
    "settings": "settings: run.yaml",
    "systems": "systems: {LoRA: {method: lora}, DistilWhisper: {}}",
    "student": "student: openai/whisper-small",
    "data": "data: recordings/{language}",
    "languages": "languages: [gl, ca]",
}
KEYS = ("title", "settings", "output_dir", "shared", "systems", "seeds", "compare", "forced_gates")
STEPS = ("do_train", "do_eval", "do_predict")  # of a run: a comparison needs all
# Names of the untrained models, and of what a comparison writes into its folder beside the systems.
RESERVED = (
    *("student", "teacher", "scores", "comparison.json", "trained.json"),
    *("means.md", "languages.md", "differences.md", "wer.png"),
)

Settings = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training of a system.

    Attributes:
        system: its name.
        seed: `None` where the comparison names no seeds.
        name: of its folder, and of its model in the evaluation.
        settings: in which it differs from what all share.
    """

    system: str
    seed: int | None
    settings: Settings

    @property
    def model(self) -> str:
        """Its name in the evaluation."""
        return self.system if self.seed is None else f"{self.system}, seed {self.seed}"

    @property
    def name(self) -> str:
        """The name of its folder."""
        return file_name(self.model)


@dataclass(frozen=True)
class Plan:
    """A comparison as its file and the flags describe it.

    Attributes:
        title: of its tables.
        content: of the file.
        shared: the settings of training that all systems share.
        systems: the settings in which each differs.
        seeds: with which each is trained; empty: once, with the seed of the settings.
        pairs: of systems, whose difference is tested.
        forced_gates: whether tables show scores with all gates open, and with all gates closed.
        folder: of all that it writes.
    """

    title: str
    content: Settings
    shared: Settings
    systems: dict[str, Settings]
    seeds: list[int]
    pairs: list[tuple[str, str]]
    forced_gates: bool
    folder: Path

    @property
    def runs(self) -> list[Run]:
        """All trainings, seed by seed: what is interrupted has complete rows for the first seeds."""
        if not self.seeds:
            return [Run(system, None, settings) for system, settings in self.systems.items()]
        return [
            Run(system, seed, settings | {"seed": seed})
            for seed in self.seeds
            for system, settings in self.systems.items()
        ]

    @property
    def untrained(self) -> dict[str, str]:
        """The locations of the student and, if it is another model, of the teacher."""
        return untrained_models(self.shared)


def untrained_models(shared: Settings) -> dict[str, str]:
    models = {"student": shared["student"]}
    if shared.get("teacher", shared["student"]) != shared["student"]:
        models["teacher"] = shared["teacher"]
    return models


def read_plan(file: Path, output_dir: str | None, overrides: Mapping[str, str]) -> Plan:
    """Reads a comparison and the settings that it names.

    Args:
        file: of the comparison.
        output_dir: replaces the file's.
        overrides: settings of training that replace the files'.

    Raises:
        ValueError: a setting is missing or unknown, or a system's name cannot name a model or a folder.
    """
    content = read_settings(file)
    if unknown := sorted(set(content) - set(KEYS)):
        raise ValueError(
            f"{file} has {', '.join(unknown)}, which a comparison does not know. Its settings are {', '.join(KEYS)}; "
            "those of training stand in `shared`, or in a system."
        )
    require_settings(file, content, "settings", "systems")
    form = {"settings": str, "systems": {str: dict | None}, "shared": dict, "title": str}
    given = {"shared": {}, "title": file.stem} | content
    check_form(given, form, str(file))
    if "output_dir" not in content and not output_dir:
        raise ValueError(f"{file} lacks output_dir. Give it there, or as --output_dir.")
    systems = {name: settings or {} for name, settings in content["systems"].items()}
    settings = as_lists(read_settings(content["settings"])) | as_lists(given["shared"]) | dict(overrides)
    shared = without_blanks(settings)
    require_settings(content["settings"], shared, "student", "data", "languages")
    for name in STEPS:
        if any(name in settings for settings in (shared, *systems.values())):
            raise ValueError(
                f"{name}: a comparison trains and scores every system. Leave this setting out of its files."
            )
    lists = {name: [str] for name in LISTS if name in shared}
    check_form(shared, {"student": str, **lists}, str(content["settings"]))
    for name in {"languages", "test_languages"} & shared.keys():
        own = own_names(shared, shared[name])
        shared[name] = [*map(str, chosen_languages(shared[name], own))]  # as YAML takes them
    plan = Plan(
        title=given["title"],
        content=content,
        shared=shared,
        systems=systems,
        seeds=read_seeds(file, content),
        pairs=read_pairs(file, content.get("compare"), [*untrained_models(shared), *systems]),
        forced_gates=read_switch(file, content, "forced_gates"),
        folder=Path(output_dir or content["output_dir"]),
    )
    check_names(systems, plan.runs)
    return plan


def require_settings(file: str | Path, settings: Settings, *names: str) -> None:
    """Raises `ValueError` if a file lacks settings that a comparison needs."""
    if missing := [name for name in names if not settings.get(name)]:
        lines = "; ".join(f"`{EXPECTED[name]}`" for name in missing)
        raise ValueError(f"{file} lacks {', '.join(missing)}. Expected lines such as {lines}.")


def read_switch(file: Path, content: Settings, name: str) -> bool:
    """A setting that is true or false, and false where it is not there."""
    try:
        return string_to_bool(content.get(name) or "false")
    except (ArgumentTypeError, AttributeError):
        raise ValueError(f"{file}: {name}: expected true or false, got {content[name]!r}.") from None


def read_seeds(file: Path, content: Settings) -> list[int]:
    """The seeds in a file; none where it names none.

    Raises:
        ValueError: they are no list of different numbers, or a system has a seed too.
    """
    seeds = content.get("seeds")
    if seeds is None:
        return []
    texts = [str(seed) for seed in seeds] if isinstance(seeds, list) else []
    if not texts or not all(text.isdecimal() for text in texts) or len({*map(int, texts)}) < len(texts):
        raise ValueError(f"{file}: seeds: expected different whole numbers such as `seeds: [0, 1, 2]`, got {seeds!r}.")
    with_seed = [name for name, settings in content["systems"].items() if "seed" in (settings or {})]
    if with_seed or "seed" in (content.get("shared") or {}):
        raise ValueError(
            f"{file} has seeds, and a seed in {', '.join(with_seed) or 'shared'}. Expected one of the two."
        )
    return [int(text) for text in texts]


def read_pairs(file: Path, compare: Any, models: list[str]) -> list[tuple[str, str]]:
    """The pairs of systems to compare.

    A list compares its first with each other one; a mapping, each key with those of its list. Without either, the last
    system is compared with each other one.

    Raises:
        ValueError: it is neither, or names a system that is not there.
    """
    if compare is None:
        return [(models[-1], other) for other in models[:-1]]
    chosen = {compare[0]: compare[1:]} if compare and isinstance(compare, list) else compare
    chosen = chosen if isinstance(chosen, dict) and chosen else {"": []}
    pairs = [(first, str(other)) for first, others in chosen.items() for other in as_list(others) or [""]]
    if any(first == other or not {first, other} <= set(models) for first, other in pairs):
        raise ValueError(
            f"{file}: compare: expected names of {', '.join(models)}: a list, whose first is compared with the others, "
            f"or `{{first: [others]}}`; got {compare!r}."
        )
    return pairs


def check_names(systems: Iterable[str], runs: Iterable[Run]) -> None:
    """Refuses, before anything is trained, systems whose names cannot name a model and a folder."""
    names = [*RESERVED, *map(file_name, systems)]
    folders = [run.name for run in runs]
    unlike = len(set(names)) == len(names) and len(set(folders)) == len(folders)
    if not unlike or any(split_name(f"{system}=x")[0] != system for system in systems):
        raise ValueError(
            f"Systems need different names, not {', '.join(RESERVED)}, and without = : / or ?; got {list(systems)}."
        )


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def as_lists(settings: Settings) -> Settings:
    """The settings, with a single corpus or language as a list of one."""
    return settings | {name: [value] for name in LISTS if isinstance(value := settings.get(name), str)}


def without_blanks(settings: Settings) -> Settings:
    """The settings that have a value: `teacher: ""` in a system removes the teacher that the others share."""
    return {name: value for name, value in settings.items() if value not in ("", None)}
