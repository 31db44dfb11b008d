"""The folder of a run: what it was started with, what it has found so far, and from where it can go on."""

import json
from pathlib import Path
from typing import Any

from transformers.utils import logging

from .files import write_whole

logger = logging.get_logger(__name__)
SETTINGS = "settings.json"


class RunFolder:
    """Results of one run as JSON files, none of them mixed with those of a run with other settings.

    Args:
        folder: made if it is not there.
        settings: what makes a run another run, as JSON types; written to `settings.json`.

    Raises:
        ValueError: the folder holds a run with other settings; the message names those that differ.
    """

    def __init__(self, folder: str | Path, settings: dict[str, dict[str, Any]]):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        begun = self.read(SETTINGS)
        if begun is None:
            self.write(SETTINGS, settings)
        elif begun != settings:
            differ = [
                f"{name} {begun.get(part, {}).get(name)!r}, now {settings.get(part, {}).get(name)!r}"
                for part in {**begun, **settings}
                for name in {**begun.get(part, {}), **settings.get(part, {})}
                if begun.get(part, {}).get(name) != settings.get(part, {}).get(name)
            ]
            raise ValueError(
                f"{folder} holds a run with other settings: {'; '.join(differ)}. Use another folder or delete it."
            )

    def read(self, name: str) -> Any | None:
        """The content of a JSON file, or `None` where there is none yet."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write(self, name: str, content: Any) -> Any:
        """Writes a JSON file and returns `content`."""
        write_whole(self.folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        return content

    def last_checkpoint(self) -> str | None:
        """The newest whole checkpoint of a trainer; `trainer_state.json` is the last file that is written into one."""
        whole = [path.parent for path in self.folder.glob("checkpoint-*/trainer_state.json")]
        steps = {int(path.name.removeprefix("checkpoint-")): path for path in whole if path.name[11:].isdecimal()}
        newest = steps[max(steps)] if steps else None
        if newest is not None:
            logger.warning(f"Going on from {newest}")
        return str(newest) if newest else None
