"""Any Whisper from a folder or the Hub: plain, with a LoRA adapter, or with language experts."""

import hashlib
from pathlib import Path

from transformers import AutoConfig, AutoModelForSpeechSeq2Seq, WhisperConfig, WhisperProcessor
from transformers.utils import find_adapter_config_file

from .. import modeling_distilwhisper as _registered  # noqa: F401 (the Auto classes know our model by it)
from .precision import QUANTISED, precision_settings
from .settings import split_name


def name_models(written: list[str]) -> dict[str, str]:
    """Locations by name, of words such as `name=location`; a location alone is called by its last part.

    Raises:
        ValueError: two of one name, or one without a location.
    """
    models: dict[str, str] = {}
    for one in written:
        name, location = split_name(one)
        if not location:
            raise ValueError(f"Expected a model's folder or Hub id, or name=location; got {one!r}.")
        name = name or Path(location).name
        if name in models:
            raise ValueError(f"Two models are called {name!r}. Name them: name=location.")
        models[name] = location
    return models


def load_model(location: str, precision: str, device: str):
    """The model, ready to transcribe; precision and device as `precision_settings` takes them."""
    model = AutoModelForSpeechSeq2Seq.from_pretrained(location, **precision_settings(precision, device)).eval()
    return model if precision in QUANTISED else model.to(device)  # quantised ones are where they were loaded to


def load_processor(location: str) -> WhisperProcessor:
    """The model's processor; that of its base where an adapter came without."""
    try:
        return WhisperProcessor.from_pretrained(location)
    except (OSError, ValueError):
        if (base := adapted_base(location)) is None:
            raise
        return WhisperProcessor.from_pretrained(base)


def load_config(location: str) -> WhisperConfig:
    """The model's configuration; that of its base for an adapter."""
    return AutoConfig.from_pretrained(adapted_base(location) or location)


def adapted_base(location: str) -> str | None:
    """The Whisper that an adapter adapts; `None` for a model that is none."""
    if find_adapter_config_file(location) is None:
        return None
    from peft import PeftConfig  # here alone: only adapters need it

    return PeftConfig.from_pretrained(location).base_model_name_or_path


def weights_digest(location: str) -> str | None:
    """A mark of the weights in a folder, another one once they are trained on; `None` for a model of the Hub."""
    mark = hashlib.sha256()
    files = sorted(path for path in Path(location).glob("*") if path.suffix in (".safetensors", ".bin"))
    for path in files:
        with open(path, "rb") as file:
            mark.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return mark.hexdigest() if files else None
