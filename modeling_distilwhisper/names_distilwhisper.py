"""Names of models as others may see them: a folder of this machine is none of their business."""

import json
import os
import re
from pathlib import Path, PureWindowsPath

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

# A text that leads to a file of some machine: two parts or more from a root, a drive, a home or a share.
PATH = re.compile(r"(/[^/\s]+/|~[^/\\\s]*[/\\]|[A-Za-z]:[\\/]|\\\\|file:).*", re.DOTALL)
BASE_MODEL = ("base_model_name_or_path", "base_model_revision", "base_model_subfolder")


def is_hub_id(name: str | None) -> bool:
    """Whether a name may be a Hub id that others can load, and is no folder, here or on another machine."""
    try:
        validate_repo_id(name or "")
    except HFValidationError:
        return False
    return not Path(name or "").exists()


def public_name(name: str | os.PathLike | None) -> str | None:
    """A Hub id as it is; of a folder the last part of its path, which tells nothing about the machine."""
    if name is None or is_hub_id(str(name)):
        return None if name is None else str(name)
    return PureWindowsPath(str(name)).name or None  # both kinds of separators


def hide_paths(folder: Path, keep_base_model: bool = False) -> None:
    """Shortens the paths of this machine in the configurations of a folder that others may get.

    Args:
        folder: its files `*config.json` are rewritten where they hold one.
        keep_base_model: keep the place of the backbone in `config.json`, for a folder without weights, which could not
            be loaded without it. Otherwise a backbone that is not on the Hub is not named.
    """
    for path in folder.glob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        public = without_paths(config)
        if keep_base_model and "base_model_name_or_path" in config:
            public["base_model_name_or_path"] = config["base_model_name_or_path"]
        elif config.get("base_model_name_or_path") and not is_hub_id(config["base_model_name_or_path"]):
            public.update(dict.fromkeys(BASE_MODEL))
        if public != config:
            path.write_text(json.dumps(public, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def without_paths(value):
    """A value of JSON in which paths of this machine are shortened to their last part."""
    if isinstance(value, dict):
        return {key: without_paths(content) for key, content in value.items()}
    if isinstance(value, list):
        return [without_paths(content) for content in value]
    if isinstance(value, str) and PATH.fullmatch(value):
        return public_name(value) or ""
    return value


__all__ = ["hide_paths", "is_hub_id", "public_name", "without_paths"]
