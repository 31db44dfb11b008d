"""The content of a folder or Hub repository: languages, a backbone, or another kind of model."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import WhisperConfig
from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
)

from .configuration_distilwhisper import DistilWhisperConfig
from .expert_file_distilwhisper import language_of_file

# The arguments of `from_pretrained` that say where a file is. A `hub` dictionary holds some of them.
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def check_hub_arguments(arguments: dict) -> dict:
    """Returns arguments that say where a file is (`HUB_ARGUMENTS`), to be passed on.

    Raises:
        TypeError: one has another name.
    """
    if unknown := sorted(arguments.keys() - set(HUB_ARGUMENTS)):
        raise TypeError(f"Unknown arguments {unknown}. Expected some of: {', '.join(HUB_ARGUMENTS)}.")
    return arguments


def languages_in(repo_or_dir: str | os.PathLike, **hub_arguments) -> list[str]:
    """The codes of the languages that a folder or Hub repository has experts for.

    Args:
        repo_or_dir: folder, whose files count, or Hub id, whose config counts.
        hub_arguments: `revision`, `token`, ... as for any `from_pretrained` of Transformers.
    """
    folder = Path(repo_or_dir, hub_arguments.get("subfolder") or "")
    if Path(repo_or_dir).is_dir():
        return sorted(filter(None, (language_of_file(path.name) for path in folder.glob("expert.*"))))
    arguments = {key: value for key, value in hub_arguments.items() if key in HUB_ARGUMENTS}
    return list(DistilWhisperConfig.get_config_dict(str(repo_or_dir), **arguments)[0].get("languages", []))


def require_distilwhisper(source: str, hub: dict) -> str:
    """Returns `source`, a folder or Hub repository, if it holds a DistilWhisper.

    Raises:
        ValueError: it holds another model.
    """
    config, _ = WhisperConfig.get_config_dict(source, **hub)
    if config.get("model_type") != DistilWhisperConfig.model_type:
        raise ValueError(
            f"{source} is a {config.get('model_type')!r}, expected a 'distilwhisper'. "
            "To put experts on a plain Whisper, use `from_whisper(..., languages=[...])`."
        )
    return source


def has_weights(name: str, variant: str | None, hub: dict) -> bool:
    """Whether a folder or Hub repository holds the backbone's weights."""
    names = [SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME]
    if variant is not None:
        names = [f"model.{variant}.safetensors", f"model.safetensors.index.{variant}.json", *names]
    return has_one_of(name, names, hub)


def has_only_pickled_weights(name: str, variant: str | None, hub: dict) -> bool:
    """Whether the weights in a folder or Hub repository are pytorch_model.bin alone, as in many older ones."""
    return not has_weights(name, variant, hub) and has_one_of(name, [WEIGHTS_NAME, WEIGHTS_INDEX_NAME], hub)


@contextmanager
def pickles_refused(name: str) -> Iterator[None]:
    """Within it, Transformers loads the weights of `name`. If they are a pickle, it loads tensors alone.

    Raises:
        ValueError: there is something else in the pickle. It was not loaded.
    """
    try:
        yield
    except pickle.UnpicklingError:  # its message tells how to load it nevertheless, which may run code
        raise ValueError(
            f"{name}: {WEIGHTS_NAME} is damaged, or holds more than tensors. It was not loaded, because that may run "
            f"code. Expected {SAFE_WEIGHTS_NAME}, or a {WEIGHTS_NAME} of tensors; download it again, or take another "
            "copy of this model."
        ) from None


def has_one_of(name: str, files: list[str], hub: dict) -> bool:
    """Whether a folder or Hub repository holds one of these files."""
    return any(cached_file(name, file, _raise_exceptions_for_missing_entries=False, **hub) for file in files)


def base_model_settings(name: str, hub: dict) -> dict[str, str | None]:
    """The settings of `DistilWhisperConfig` that say where a backbone comes from: here, from `name`."""
    folder = Path(name, hub.get("subfolder") or "")
    if folder.is_dir():
        return {"base_model_name_or_path": str(folder.resolve())}
    return {
        "base_model_name_or_path": name,
        "base_model_revision": hub.get("revision"),
        "base_model_subfolder": hub.get("subfolder"),
    }


__all__ = [
    "HUB_ARGUMENTS",
    "base_model_settings",
    "check_hub_arguments",
    "has_one_of",
    "has_only_pickled_weights",
    "has_weights",
    "languages_in",
    "pickles_refused",
    "require_distilwhisper",
]
