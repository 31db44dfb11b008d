"""What somebody has to fetch to run a model: the bytes of its weights, and those of one language more."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.utils import cached_file

from ..configuration_distilwhisper import DistilWhisperConfig
from ..expert_file_distilwhisper import expert_file_name
from ..repository_distilwhisper import config_of, read_config, weight_files
from .any_whisper import adapted_base, expert_languages

ADAPTER = "adapter_model.safetensors"
EXPORT, RESULTS = "export.json", "results.json"  # of `distilwhisper export`, and of `distilwhisper train`


@dataclass(frozen=True)
class DownloadSize:
    """Bytes of files of weights. Settings and the tokenizer, a few MB, are the same for every Whisper.

    Attributes:
        kind: "plain Whisper", "one language" (a Whisper that was changed for it), "LoRA" or "language experts".
        total: of all that has to be fetched to run the languages.
        another_language: of what one more language of this kind needs beside it: its experts or its adapter, a
            complete model for "one language", nothing for the languages that a plain Whisper has.
    """

    kind: str
    total: int
    another_language: int


def download_size(location: str, languages: Sequence[str]) -> DownloadSize:
    """The size of a model as it is published; what is not here yet is fetched from the Hub.

    Args:
        location: folder or Hub id of any Whisper: plain, with a LoRA adapter, or with language experts.
        languages: codes of those that are to run. Files of other languages do not count. Of several languages with
            experts, the mean of their files is what one more takes.

    Raises:
        OSError: there is no model, or it has no weights.
        ValueError: a file is damaged.

    Example:
        >>> size = download_size("examples/quickstart/student", ["ca"])
        >>> size.kind, size.total == os.path.getsize("examples/quickstart/student/model.safetensors")
        ('plain Whisper', True)
    """
    if base := adapted_base(location):
        adapter = _bytes([_file(location, ADAPTER)])
        return DownloadSize("LoRA", _bytes(weight_files(base, None, {})) + adapter, adapter)
    config = config_of(location, {})
    backbone = _bytes(weight_files(location, None, {}) or _backbone_elsewhere(config))
    if not backbone:
        raise OSError(f"{location} has no weights of a Whisper. Expected a folder or Hub id with model.safetensors.")
    if config.get("model_type") != DistilWhisperConfig.model_type:
        is_changed = _is_of_one_language(location)
        return DownloadSize("one language" if is_changed else "plain Whisper", backbone, backbone * is_changed)
    known = expert_languages(location)
    experts = [_bytes([_file(location, expert_file_name(code))]) for code in languages if code in known]
    each = round(sum(experts) / len(experts)) if experts else 0
    return DownloadSize("language experts", backbone + sum(experts), each)


def _backbone_elsewhere(config: dict[str, Any]) -> list[str]:
    """The weights that experts without a backbone are loaded with."""
    base = config.get("base_model_name_or_path")
    where = {"revision": config.get("base_model_revision"), "subfolder": config.get("base_model_subfolder") or ""}
    return weight_files(base, None, where) if base else []


def _is_of_one_language(location: str) -> bool:
    """Whether a Whisper was exported, or fine-tuned as a whole: its weights are then those of its language."""
    results = _file(location, RESULTS)
    if results is None:
        return _file(location, EXPORT) is not None
    settings = read_config(results, f"{location}/{RESULTS}").get("settings")
    model = settings.get("model") if isinstance(settings, dict) else None
    return isinstance(model, dict) and model.get("method") == "finetune"


def _file(location: str, name: str) -> str | None:
    return cached_file(location, name, _raise_exceptions_for_missing_entries=False)


def _bytes(files: Sequence[str | None]) -> int:
    return sum(os.path.getsize(file) for file in files if file is not None)
