"""The content of a folder or Hub repository: languages, a backbone, or another kind of model."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import WhisperConfig
from transformers.utils import (
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
    extract_commit_hash,
)

from .configuration_distilwhisper import DistilWhisperConfig
from .expert_file_distilwhisper import language_of_file
from .language_names_distilwhisper import language_names

# The settings that decide how large a Whisper is.
SIZES: tuple[str, ...] = ("d_model", "vocab_size", "num_mel_bins", "max_source_positions", "max_target_positions")
SIZES += tuple(f"{side}_{part}" for side in ("encoder", "decoder") for part in ("layers", "ffn_dim", "attention_heads"))

FREE = 1_000_000  # weights that a config may ask for whatever its files hold: 4 MB harm nobody

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
    return listed_languages(config_of(str(repo_or_dir), arguments), str(repo_or_dir))


def listed_languages(config: dict[str, Any], source: str) -> list[str]:
    """The languages that a config lists, each once.

    Args:
        config: the content of a config.json.
        source: the folder or repository, for the message.

    Raises:
        ValueError: what it has there is no list of codes.
    """
    languages = config.get("languages")
    if languages is None:
        return []
    try:
        if not isinstance(languages, (list, tuple)):
            raise ValueError(languages)
        return list(dict.fromkeys(language_names(languages)))
    except ValueError:
        raise ValueError(
            f"{source}/{CONFIG_NAME} says languages {languages!r}, expected a list of codes such as ['gl', 'ca']."
        ) from None


def read_config(path: str | os.PathLike, name: str) -> dict[str, Any]:
    """The content of a config.json.

    Args:
        path: of the file.
        name: of the file for the message.

    Raises:
        ValueError: it is damaged, or something else.
    """
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # cut off, empty, not UTF-8, nested without end
        raise ValueError(f"{name} is damaged ({error}). Fetch or save it again.") from None
    if not isinstance(config, dict):
        raise ValueError(f"{name} holds a {type(config).__name__}, expected the settings of a model, {{...}}.")
    return config


def config_of(source: str, hub: dict) -> dict[str, Any]:
    """The content of the config.json of a folder or Hub repository.

    Raises:
        OSError: there is none, or it is not reachable; the message is that of Transformers.
        ValueError: it is damaged, or something else.
    """
    arguments = {key: value for key, value in hub.items() if key in HUB_ARGUMENTS}
    path = cached_file(source, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **arguments)
    if path is not None:
        read_config(path, f"{source}/{CONFIG_NAME}")
    return WhisperConfig.get_config_dict(source, **arguments)[0]  # or says where it looked


def commit_of_now(source: str, hub: dict) -> str | None:
    """The commit that a revision of a Hub repository stands for now; `None` for a folder, or if it cannot be known."""
    if os.path.isdir(source):
        return None
    where = {key: hub[key] for key in ("revision", "token", "cache_dir", "local_files_only", "subfolder") if key in hub}
    try:
        path = cached_file(source, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **where)
    except (OSError, ValueError):  # loading says what is wrong
        return None
    return extract_commit_hash(path, None)


@contextmanager
def explained_settings(source: str) -> Iterator[None]:
    """Within it, a setting of a wrong type becomes a `ValueError`."""
    try:
        yield
    except (StrictDataclassError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{source} has a wrong setting, in its {CONFIG_NAME} or given here ({reason}).") from error


def require_distilwhisper(source: str, hub: dict) -> str:
    """Returns `source`, a folder or Hub repository, if it holds a DistilWhisper.

    Raises:
        ValueError: it holds another model.
    """
    config = config_of(source, hub)
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


def has_one_of(name: str, files: list[str], hub: dict) -> bool:
    """Whether a folder or Hub repository holds one of these files."""
    return any(cached_file(name, file, _raise_exceptions_for_missing_entries=False, **hub) for file in files)


@contextmanager
def pickles_refused(name: str) -> Iterator[None]:
    """Within it, Transformers loads the weights of `name`. If they are a pickle, it loads tensors alone.

    Raises:
        ValueError: there is something else in the pickle. It was not loaded.
    """
    try:
        yield
    except UnpicklingError:  # its message tells how to load it nevertheless, which may run code
        raise ValueError(
            f"{name}: {WEIGHTS_NAME} is damaged, or holds more than tensors. It was not loaded, because that may run "
            f"code. Expected {SAFE_WEIGHTS_NAME}, or a {WEIGHTS_NAME} of tensors; download it again, or take another "
            "copy of this model."
        ) from None


@contextmanager
def checked_backbone(name: str, config: WhisperConfig, variant: str | None, hub: dict) -> Iterator[None]:
    """Checks a folder or Hub repository before its backbone is loaded, and says what is wrong if that fails.

    The weights that the config asks for must have room in the files: a file's own size bounds the memory it takes.

    Raises:
        ValueError: a file is damaged, or the config asks for more than there is.
    """
    path = cached_file(name, GENERATION_CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **hub)
    if path is not None:  # Transformers would take a damaged one for an absent one
        read_config(path, f"{name}/{GENERATION_CONFIG_NAME}")
    if weights := weight_files(name, variant, hub):  # without any, Transformers says which files it looked for
        check_size(f"{name}/{CONFIG_NAME}", config, sum(map(os.path.getsize, weights)))
    try:
        with pickles_refused(name):
            yield
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, RuntimeError, EOFError, KeyError) as error:
        if "meta device" in str(error):  # of the caller, who must not load within it
            raise
        raise ValueError(
            f"The weights of {name} could not be loaded ({type(error).__name__}: {error}). If a file is damaged, fetch "
            "or save it again."
        ) from error


def check_size(name: str, config: WhisperConfig, stored: int) -> None:
    """Checks that a config asks for no more weights than there are, before there is memory for them.

    Args:
        name: of the config, for the message.
        config: of a Whisper.
        stored: bytes of the files with its weights.

    Raises:
        ValueError: it asks for more, or for a size below 1.
    """
    sizes = {size: getattr(config, size) for size in SIZES}
    if wrong := {size: value for size, value in sizes.items() if value < 1}:
        raise ValueError(f"{name} asks for {wrong}, expected 1 or more.")
    d_model = config.d_model
    weights = config.encoder_layers * (4 * d_model + 2 * config.encoder_ffn_dim)
    weights += config.decoder_layers * (8 * d_model + 2 * config.decoder_ffn_dim)
    weights += config.vocab_size + config.max_source_positions + config.max_target_positions
    weights = d_model * (weights + 3 * d_model + 3 * config.num_mel_bins)
    most = max(FREE, stored * (2 if getattr(config, "quantization_config", None) else 1))  # 4 bits
    if weights > most:
        raise ValueError(
            f"{name} asks for a model of {weights:,} weights, and the files next to it have {stored:,} bytes. Fetch or "
            "save the folder again."
        )


def weight_files(name: str, variant: str | None, hub: dict) -> list[str]:
    """The files with the weights that Transformers may load, those of the Hub fetched."""
    names = [SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME]
    if variant is not None:
        names = [f"{stem}.{variant}.{suffix}" for stem, _, suffix in (one.rpartition(".") for one in names)] + names
    for file in names:
        path = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **hub)
        if path is not None and file.endswith(".json"):
            parts = read_config(path, f"{name}/{file}").get("weight_map")
            if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
                raise ValueError(f"{name}/{file} is damaged: it has no `weight_map`. Fetch or save it again.")
            paths = [
                cached_file(name, part, _raise_exceptions_for_missing_entries=False, **hub)
                for part in sorted(set(parts.values()))
            ]
            return [path for path in paths if path is not None]
        if path is not None:
            return [path]
    return []


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
    "check_size",
    "checked_backbone",
    "commit_of_now",
    "config_of",
    "explained_settings",
    "has_one_of",
    "has_only_pickled_weights",
    "has_weights",
    "languages_in",
    "listed_languages",
    "pickles_refused",
    "read_config",
    "require_distilwhisper",
    "weight_files",
]
