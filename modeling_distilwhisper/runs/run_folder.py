"""The folder of a run: its settings, its results so far, and the checkpoint from which it can be resumed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .files import write_atomically
from .forms import AGAIN, Form
from .lock import hold
from .old_names import read_json
from .processes import is_main_process

logger = logging.get_logger(__name__)
SETTINGS = "settings.json"
# What is expected in a file of a run.
FORMS: dict[str, Form] = {
    SETTINGS: {str: dict},
    "before.json": {str: {str: {str: dict}}},
    "results.json": {"settings": {"training": {"num_train_epochs": Any, "max_steps": Any}}},
}

Settings = Mapping[str, Mapping[str, Any]]  # by part ("model", "data", ...) and name


class RunFolder:
    """Results of one run as JSON files, never mixed with those of a run with other settings.

    Only one run at a time writes into a folder (`runs/lock.py`): another one is refused, for as long as this one lives.
    A folder that an earlier version wrote is read under today's names; a setting that did not exist then has its
    default.

    Args:
        folder: made if it does not exist.
        settings: the settings that distinguish this run from others, as JSON types; written to `settings.json`.
        defaults: by name, the default of settings that an older folder may lack. Without one it is `None`.

    Raises:
        ValueError: the folder holds a run with other settings; the message names those that differ.
        FolderInUseError: another run writes into the folder.
    """

    def __init__(self, folder: str | Path, settings: Settings, defaults: Mapping[str, Any] | None = None):
        self.folder = Path(folder)
        hold(self.folder)
        begun = self.read(SETTINGS)
        if begun is None:
            if is_main_process():
                self.write(SETTINGS, settings)
        elif differ := differences(begun, settings, defaults or {}):
            raise ValueError(
                f"{folder} holds a run with other settings: {'; '.join(differ)}. "
                "Use its settings, use another folder or delete it."
            )

    def read(self, name: str) -> Any | None:
        """The content of a JSON file under today's names, or `None` if there is no such file yet.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.folder / name
        advice = f"Use another folder, or delete {self.folder}." if name == SETTINGS else AGAIN
        return read_json(path, FORMS.get(name, dict), advice) if path.is_file() else None

    def write(self, name: str, content: Any) -> Any:
        """Writes a JSON file and returns `content`."""
        write_atomically(self.folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        return content

    def last_checkpoint(self) -> str | None:
        """The newest complete checkpoint of a trainer: `trainer_state.json` is the last file written into one."""
        steps = {}
        for state in self.folder.glob("checkpoint-*/trainer_state.json"):
            if step := re.fullmatch(r"checkpoint-(\d+)", state.parent.name):
                steps[int(step[1])] = str(state.parent)
        if not steps:
            return None
        newest = steps[max(steps)]
        logger.warning(f"Resuming from {newest}")
        return newest


def differences(before: Settings, now: Settings, defaults: Mapping[str, Any]) -> list[str]:
    """The settings with different values in two runs, such as "learning_rate 0.1, now 0.5"."""
    differing = []
    for part in {**before, **now}:
        old, new = before.get(part, {}), now.get(part, {})
        for name in {**old, **new}:
            default = defaults.get(name)
            values = old.get(name, default), new.get(name, default)
            if values[0] != values[1]:
                differing.append(f"{name} {values[0]!r}, now {values[1]!r}")
    return differing
