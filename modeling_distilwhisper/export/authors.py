"""The checkpoints that the authors of Multilingual DistilWhisper published, in this package's layout.

Theirs is a backbone and pickled files `expert.<language's name>.bin`. Of a layer, behind `model.encoder.layers.0.`:

    ffn_clsr.proj.shared.fc1.weight      fc1.weight
    ffn_clsr.proj.catalan.fc1.weight     experts.ca.fc1.weight
    ffn_clsr.gate_in.catalan.weight      experts.ca.gate.hidden.weight
    ffn_clsr.gate_out.catalan.weight     experts.ca.gate.score.weight
    -                                    experts.ca.gate.threshold, which is 0 (eq. 4.4)

Nothing is computed, so the numbers come out as they went in. What does not fit is refused before anything is made.
"""

import pickle
import re
from dataclasses import fields
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from transformers import GenerationConfig, WhisperConfig, WhisperProcessor
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_NAME

from ..configuration_distilwhisper import DistilWhisperConfig, check_language_codes
from ..expert_file_distilwhisper import check_tensors
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration

Tensors = dict[str, torch.Tensor]
OF_A_LANGUAGE = re.compile(r"\.ffn_clsr\.(?:proj|gate_in|gate_out)\.(?!shared\.)([^.]+)\.")
TIED = ("proj_out.weight", "model.decoder.embed_tokens.weight")
REPORTED_BUDGET = 0.5  # of the report; the authors' config holds one that their training did not use
SHAPE = (
    *(
        "vocab_size",
        "num_mel_bins",
        "d_model",
        "max_source_positions",
        "max_target_positions",
        "decoder_start_token_id",
    ),
    *(f"{side}_{part}" for side in ("encoder", "decoder") for part in ("layers", "attention_heads", "ffn_dim")),
)


def fetch(source: str, languages: list[str] | None = None) -> Path:
    """The folder of a checkpoint of the authors: `source` itself, or what the Hub has under that id.

    Args:
        languages: codes of the languages whose files are wanted; by default all.
    """
    if Path(source).is_dir():
        return Path(source)
    names = ["*"] if languages is None else [name for name, code in TO_LANGUAGE_CODE.items() if code in languages]
    patterns = ["*.json", "*.txt", SAFE_WEIGHTS_NAME, WEIGHTS_NAME, *(f"expert.{name}.bin" for name in names)]
    return Path(snapshot_download(source, allow_patterns=patterns))


def convert_checkpoint(
    folder: str | Path, base: str, languages: list[str] | None = None
) -> DistilWhisperForConditionalGeneration:
    """The model of a folder in the authors' layout: its backbone and experts, with gates that decide as theirs do.

    Args:
        folder: with `config.json`, `pytorch_model.bin` or `model.safetensors`, and experts, in files
            `expert.<language's name>.bin` or among the weights.
        base: folder or Hub id of the Whisper that its authors froze, such as "openai/whisper-small". The generation
            settings come from it where the folder's own do not say which token means which language.
        languages: codes of the languages to take; by default all.

    Raises:
        OSError: a file that is needed is not there.
        ValueError: anything that is not exactly such a checkpoint; the message says what was found and expected.
    """
    folder = Path(folder)
    theirs = _read_config(folder)
    _check_base(folder, theirs, base)
    model = _bare_model(folder, theirs, base)
    weights_path, weights = _read_weights(folder)
    experts = _experts_by_code(folder, weights_path, weights)
    wanted = list(experts) if languages is None else check_language_codes(languages)
    if missing := [code for code in wanted if code not in experts]:
        raise ValueError(f"{folder} has no experts of {missing}. Languages that it has: {', '.join(experts)}.")
    _load_backbone(model, weights_path, {key: weights[key] for key in weights if not OF_A_LANGUAGE.search(key)})
    for code in wanted:
        name, path = experts[code]
        found = weights if path == weights_path else _read_tensors(path)
        _load_experts(model, code, name, path, {key: found[key] for key in found if _is_of(key, name, path)})
    model.freeze_backbone()
    return model.eval()


def processor_of_checkpoint(folder: str | Path, base: str) -> WhisperProcessor:
    """The checkpoint's own processor, or its base's where it came without."""
    has = {path.name for path in Path(folder).iterdir()}
    is_whole = "tokenizer_config.json" in has and has & {"preprocessor_config.json", "processor_config.json"}
    return WhisperProcessor.from_pretrained(folder if is_whole else base)


def _read_config(folder: Path) -> dict:
    path = folder / CONFIG_NAME
    theirs, _ = WhisperConfig.get_config_dict(str(folder), local_files_only=True)
    if "language_token_ids" in theirs:
        raise ValueError(f"{folder} is in this package's layout already. Load it with `from_pretrained`.")
    if theirs.get("model_type") not in ("distilwhisper", "whisper") or "clsr_gate_dim" not in theirs:
        raise ValueError(
            f"{path} describes a {theirs.get('model_type')!r}, with gates {theirs.get('clsr_gate_dim')} wide. Expected "
            "the config of a Whisper that the authors' code saved, with `clsr_gate_dim`."
        )
    if theirs.get("clsr_residual"):
        raise ValueError(f"{path} sets `clsr_residual`, which adds to the shared path. Expected experts in its place.")
    return theirs


def _bare_model(folder: Path, theirs: dict, base: str) -> DistilWhisperForConditionalGeneration:
    """A model of the right shape, with generation settings, without experts and with random weights."""
    generation = _generation_config(folder, base)
    config = DistilWhisperConfig(
        **_of_whisper(theirs),
        gate_dim=theirs["clsr_gate_dim"],
        gate_training="soft",
        gate_budget=theirs["gate_budget"] if theirs.get("use_gate_budget") else REPORTED_BUDGET,
        skip_gate_prob=theirs.get("skip_gate_prob", 0.2),
        translate_token_id=(getattr(generation, "task_to_id", None) or {}).get("translate"),
        base_model_name_or_path=str(Path(base).resolve()) if Path(base).is_dir() else base,
    )
    model = DistilWhisperForConditionalGeneration(config)
    model.generation_config = generation
    return model


def _check_base(folder: Path, theirs: dict, base: str) -> None:
    """A Whisper of another shape, or with tokens in other places, is not what the checkpoint was made on."""
    shapes = [WhisperConfig(**_of_whisper(found)) for found in (WhisperConfig.get_config_dict(base)[0], theirs)]
    differ = [
        f"{name} {its}, not {expected}"
        for name in SHAPE
        if (its := getattr(shapes[0], name)) != (expected := getattr(shapes[1], name))
    ]
    if differ:
        raise ValueError(f"{base} is not the Whisper that {folder} was made on: it has {', '.join(differ)}.")


def _of_whisper(found: dict) -> dict:
    names = {field.name for field in fields(WhisperConfig)} - {"architectures", "transformers_version", "dtype"}
    return {name: value for name, value in found.items() if name in names}


def _generation_config(folder: Path, base: str) -> GenerationConfig:
    """The folder's own if it knows languages, else the base's."""
    for place in (folder, base):
        if place == base or (folder / GENERATION_CONFIG_NAME).is_file():
            config = GenerationConfig.from_pretrained(place)
            if getattr(config, "lang_to_id", None):
                return config
    raise ValueError(
        f"Neither {folder} nor {base} says which token means which language (`lang_to_id` in "
        f"{GENERATION_CONFIG_NAME}). Name the multilingual Whisper that the checkpoint was made on."
    )


def _read_weights(folder: Path) -> tuple[Path, Tensors]:
    for name in (SAFE_WEIGHTS_NAME, WEIGHTS_NAME):
        if (folder / name).is_file():
            return folder / name, _read_tensors(folder / name)
    raise FileNotFoundError(
        f"There is neither {SAFE_WEIGHTS_NAME} nor {WEIGHTS_NAME} in {folder}. Expected one of them."
    )


def _read_tensors(path: Path) -> Tensors:
    """A file's tensors by name. Whatever else a pickle might hold or do, it is not loaded."""
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} holds more than tensors, or no pickle at all. It was not loaded, since that may run code. "
            "If it was whole once, fetch it again."
        ) from None
    except Exception as error:  # damaged bytes fail in any way: as a key, an index or a type that is none
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged ({reason}). Fetch it again.") from None
    whole = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
    if not whole or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path} holds no tensors by name. Expected a state dict.")
    for key, tensor in tensors.items():
        if not tensor.isfinite().all() or tensor.dtype == torch.float64:
            raise ValueError(f"{path}: {key} holds {tensor.dtype}, NaN or infinity. Expected finite float32 or less.")
    return tensors


def _load_backbone(model, path: Path, found: Tensors) -> None:
    if not any(key.startswith("model.encoder.conv1.") for key in found):
        raise ValueError(f"{path} is no Whisper: it holds {', '.join([*found][:3]) or 'nothing'}...")
    head, embedding = TIED
    if head in found and not torch.equal(found[head], found.get(embedding, found[head])):
        raise ValueError(f"{path}: {head} differs from {embedding}. Expected a Whisper, whose head is its embedding.")
    expected = {key: tensor for key, tensor in model.state_dict().items() if key != head}
    names = {_shared_name(key): key for key in expected}
    found = {key: tensor for key, tensor in found.items() if key != head}
    check_tensors(str(path), found, {name: expected[key] for name, key in names.items()})
    state = {key: found[name] for name, key in names.items()}
    model.load_state_dict(state | {head: state[embedding]})


def _experts_by_code(folder: Path, weights_path: Path, weights: Tensors) -> dict[str, tuple[str, Path]]:
    """Language code -> the authors' name of the language and the file with its experts."""
    among_weights = {found[1] for key in weights if (found := OF_A_LANGUAGE.search(key))}
    places = [(name, weights_path) for name in among_weights]
    places += [(path.name.removeprefix("expert.").removesuffix(".bin"), path) for path in folder.glob("expert.*.bin")]
    found: dict[str, tuple[str, Path]] = {}
    for name, path in sorted(places):
        code = TO_LANGUAGE_CODE.get(name)
        if code is None:
            raise ValueError(
                f"{path} has experts of {name!r}. Expected a language that Whisper knows, such as 'catalan'."
            )
        if code in found:
            raise ValueError(f"Both {found[code][1]} and {path} have experts of {code!r}. Expected one of them.")
        found[code] = name, path
    if not found:
        raise ValueError(f"{folder} has no experts, neither in {weights_path.name} nor in files as expert.catalan.bin.")
    return found


def _is_of(key: str, name: str, path: Path) -> bool:
    """Whether a tensor belongs to the experts of a language. Of a file of its own, everything has to."""
    return path.name.startswith("expert.") or name in OF_A_LANGUAGE.findall(key)


def _load_experts(model, code: str, name: str, path: Path, found: Tensors) -> None:
    if not any(".gate_in." in key for key in found):
        raise ValueError(
            f"{path} has no gates of {name!r}, without which nothing says when its experts are to be used."
        )
    model.add_language(code)
    ours = {key: tensor for key, tensor in model.state_dict().items() if f".experts.{code}." in key}
    names = {_expert_name(key, code, name): key for key in ours if not key.endswith(".gate.threshold")}
    check_tensors(str(path), found, {theirs: ours[key] for theirs, key in names.items()})
    model.load_state_dict({key: found[theirs] for theirs, key in names.items()}, strict=False)


def _shared_name(key: str) -> str:
    return re.sub(r"(\.layers\.\d+\.)(fc[12]\.)", r"\1ffn_clsr.proj.shared.\2", key)


def _expert_name(key: str, code: str, name: str) -> str:
    layer, part = key.split(f".experts.{code}.")
    part = part.replace("gate.hidden.", f"gate_in.{name}.").replace("gate.score.", f"gate_out.{name}.")
    return f"{layer}.ffn_clsr." + re.sub("^fc", f"proj.{name}.fc", part)


__all__ = ["convert_checkpoint", "fetch", "processor_of_checkpoint"]
