"""Any Whisper from a folder or the Hub: plain, with a LoRA adapter, or with language experts."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSpeechSeq2Seq, WhisperConfig, WhisperProcessor
from transformers.utils import find_adapter_config_file

from ..configuration_distilwhisper import DistilWhisperConfig
from ..languages_distilwhisper import complete_generation_config, keep_one_end_token
from ..own_tokens_distilwhisper import place_own_tokens
from ..repository_distilwhisper import config_of, listed_languages, pickles_refused
from .cpu_int8 import CPU_INT8, check_cpu_int8, in_cpu_int8
from .precision import QUANTISED, precision_settings
from .settings import split_name


def name_models(arguments: list[str]) -> dict[str, str]:
    """The locations of models by name, from arguments such as `name=location`. The default name is the last part.

    Raises:
        ValueError: two models have one name, or one has no location.

    Example:
        >>> name_models(["openai/whisper-small", "ours=runs/gl"])
        {'whisper-small': 'openai/whisper-small', 'ours': 'runs/gl'}
    """
    models: dict[str, str] = {}
    for argument in arguments:
        name, location = split_name(argument)
        if not location:
            raise ValueError(f"Expected a model's folder or Hub id, or name=location; got {argument!r}.")
        name = name or Path(location).name
        if name in models:
            raise ValueError(f"Two models are called {name!r}. Name them: name=location.")
        models[name] = location
    return models


def load_model(location: str, precision: str = "auto", device: str = "cpu", languages: Collection[str] | None = None):
    """Loads any Whisper, ready to transcribe: a plain one, one with a LoRA adapter, or one with language experts.

    Args:
        location: folder or Hub id.
        precision: of its weights: "auto", "float32", "bfloat16", "float16", or quantised "int8", "nf4", "torchao-int8"
            (`precision_settings`), or "cpu-int8", for speed on a CPU (`in_cpu_int8`). "auto" is float32 on a CPU,
            elsewhere the precision of the files.
        device: where it will run.
        languages: load no experts of others than these; by default, all that the model has.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: an unknown precision, one that the device does not have, or a file of weights that may run code.
        ImportError: the library of a quantised precision is missing; the message says how to get it.

    Example:
        >>> from modeling_distilwhisper import load_model
        >>> model = load_model("examples/quickstart/student")
        >>> type(model).__name__, model.training
        ('WhisperForConditionalGeneration', False)
    """
    check_precision(precision, device)
    if precision == CPU_INT8:
        return in_cpu_int8(load_model(location, "float32", device, languages))
    loading = precision_settings(precision, device)
    if languages is not None:
        known = expert_languages(location)
        loading |= {"languages": [code for code in known if code in languages]} if known else {}
    model = load_weights(AutoModelForSpeechSeq2Seq, location, **loading).eval()
    return model if precision in QUANTISED else model.to(device)  # quantised models are already on the device


def check_precision(precision: str, device: str) -> None:
    """Refuses a precision in which `load_model` cannot load a model for a device.

    Raises:
        ValueError: an unknown precision, or one that the device does not have.
        ImportError: the library of a quantised precision is missing; the message says how to get it.
    """
    if precision == CPU_INT8:
        check_cpu_int8(device)
    else:
        precision_settings(precision, device)


def load_weights(kind: Any, location: str, revision: str | None = None, **loading: Any):
    """Loads a Whisper by `kind.from_pretrained`, with a generation config that names the languages' tokens.

    Args:
        kind: a class of models, or an Auto class.
        location: folder or Hub id.
        revision: branch, tag or commit of the Hub repository.
        loading: as `precision_settings` returns them.

    Raises:
        ValueError: a file of weights that may run code.
    """
    hub = {"revision": revision} if revision else {}
    with pickles_refused(location):
        model = kind.from_pretrained(location, **hub, **loading)
    keep_one_end_token(model.generation_config)
    if not getattr(model.generation_config, "lang_to_id", None):
        base = adapted_base(location)
        source, hub = (base, {}) if base else (location, hub)
        model.generation_config = complete_generation_config(model.generation_config, model.config, source, hub)
    return model


def load_processor(location: str, revision: str | None = None) -> WhisperProcessor:
    """Loads a model's processor; for an adapter or experts without one, that of the Whisper that they are made for.

    Args:
        location: folder or Hub id.
        revision: branch, tag or commit of the Hub repository.

    Raises:
        OSError: there is no processor.

    Example:
        >>> from modeling_distilwhisper import load_processor
        >>> load_processor("examples/quickstart/student").feature_extractor.sampling_rate
        16000
    """
    hub = {"revision": revision} if revision else {}
    try:
        processor = WhisperProcessor.from_pretrained(location, **hub)
    except (OSError, ValueError):
        base = adapted_base(location) or config_of(location, hub).get("base_model_name_or_path")
        if base is None:
            raise
        processor = WhisperProcessor.from_pretrained(base)
    try:
        config = config_of(location, hub)
    except OSError:  # a processor alone, or an adapter
        return processor
    if config.get("model_type") != DistilWhisperConfig.model_type:
        return processor
    # Experts that came without a processor may be of languages that the Whisper's own does not know.
    if moved := place_own_tokens(processor.tokenizer, DistilWhisperConfig.from_dict(config)):
        raise ValueError(
            f"The tokenizer of {location} has the tokens of {sorted(moved)} in other places ({moved}) than config.json "
            "says. Save model and processor together again."
        )
    return processor


def load_config(location: str) -> WhisperConfig:
    """Loads a model's configuration; for an adapter, that of the Whisper that it adapts."""
    return AutoConfig.from_pretrained(adapted_base(location) or location)


def expert_languages(location: str) -> list[str]:
    """The codes of the languages that a model has experts for; none if it is a plain Whisper or an adapter."""
    config = {} if adapted_base(location) else config_of(location, {})
    return listed_languages(config, location) if config.get("model_type") == DistilWhisperConfig.model_type else []


def adapted_base(location: str) -> str | None:
    """The location of the Whisper that an adapter adapts; `None` for a model that is no adapter."""
    if find_adapter_config_file(location) is None:
        return None
    from peft import PeftConfig  # imported here, since only adapters need it

    return PeftConfig.from_pretrained(location).base_model_name_or_path


def weights_digest(location: str) -> str | None:
    """A digest of the weights in a folder: it changes when they are trained.

    Returns:
        The digest, or `None` for a model on the Hub.
    """
    digest = hashlib.sha256()
    files = sorted(path for path in Path(location).glob("*") if path.suffix in (".safetensors", ".bin"))
    for path in files:
        content = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
        digest.update(path.name.encode() + content.digest())
    return digest.hexdigest() if files else None
