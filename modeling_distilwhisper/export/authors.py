"""Converts checkpoints in the layout of the authors of Multilingual DistilWhisper to the layout of this package.

The authors' layout is a backbone and pickled files `expert.<language's name>.bin`. Names of tensors in a layer, after
`model.encoder.layers.0.`, theirs and ours:

    ffn_clsr.proj.shared.fc1.weight      fc1.weight
    ffn_clsr.proj.catalan.fc1.weight     experts.ca.fc1.weight
    ffn_clsr.gate_in.catalan.weight      experts.ca.gate.hidden.weight
    ffn_clsr.gate_out.catalan.weight     experts.ca.gate.score.weight
    -                                    experts.ca.gate.threshold, which is 0 (eq. 4.4)

The conversion changes names and no number. A checkpoint that does not fit is refused before anything is written.
"""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from huggingface_hub import ModelCard, snapshot_download
from transformers import GenerationConfig, WhisperConfig, WhisperProcessor
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_NAME

from ..configuration_distilwhisper import DistilWhisperConfig
from ..expert_file_distilwhisper import check_shapes
from ..language_names_distilwhisper import language_names
from ..languages_distilwhisper import complete_generation_config, known_languages
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..repository_distilwhisper import check_size, config_of, explained_settings, has_one_of
from .tensor_files import Tensors, read_tensors

LANGUAGE_TENSOR = re.compile(r"\.ffn_clsr\.(?:proj|gate_in|gate_out)\.(?!shared\.)([^.]+)\.")
CARDS = Path(__file__).with_name("authors_cards")
PUBLISHED = tuple(f"naver/multilingual-distilwhisper-{size}" for size in ("3k", "10k", "28k"))
TIED = ("proj_out.weight", "model.decoder.embed_tokens.weight")
REPORTED_BUDGET = 0.5  # the report's; training did not use the one in the authors' config
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


def fetch_checkpoint(source: str, languages: list[str] | None = None) -> Path:
    """The folder of a checkpoint of the authors: `source` itself, or a download from the Hub.

    Args:
        source: folder or Hub id.
        languages: codes of the languages to download; by default all.
    """
    if Path(source).is_dir():
        return Path(source)
    names = ["*"] if languages is None else [name for name, code in TO_LANGUAGE_CODE.items() if code in languages]
    patterns = ["*.json", "*.txt", SAFE_WEIGHTS_NAME, WEIGHTS_NAME, *(f"expert.{name}.bin" for name in names)]
    return Path(snapshot_download(source, allow_patterns=patterns))


def convert_checkpoint(
    folder: str | Path, base: str, languages: list[str] | None = None
) -> DistilWhisperForConditionalGeneration:
    """Converts a checkpoint in the authors' layout: backbone, experts, and gates that decide like the authors'.

    Args:
        folder: has `config.json`, `pytorch_model.bin` or `model.safetensors`, and experts, in files
            `expert.<language's name>.bin` or among the weights.
        base: folder or Hub id of the Whisper that the authors froze, such as "openai/whisper-small". The generation
            settings come from it if those in the folder do not name the tokens of languages.
        languages: codes of the languages to convert; by default all.

    Returns:
        The model, in evaluation mode, with a frozen backbone.

    Raises:
        OSError: a file is missing.
        ValueError: the folder is not exactly such a checkpoint. The message says what was expected and what came.

    Example:
        >>> from modeling_distilwhisper import convert_checkpoint
        >>> model = convert_checkpoint("multilingual-distilwhisper-28k", "openai/whisper-small")  # doctest: +SKIP
        >>> student = "examples/quickstart/student"  # not a checkpoint of the authors
        >>> convert_checkpoint(student, student)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: ...config.json describes a 'whisper', with gates None wide. Expected ...
    """
    folder = Path(folder)
    theirs = _read_config(folder)
    weights_path, weights = _read_weights(folder)
    with explained_settings(str(folder)):
        _check_base(folder, theirs, base)
        check_size(str(folder / CONFIG_NAME), WhisperConfig(**_whisper_settings(theirs)), weights_path.stat().st_size)
        model = _bare_model(folder, theirs, base)
    experts = _experts_by_code(folder, weights_path, weights)
    wanted = list(experts) if languages is None else language_names(languages)
    if missing := [code for code in wanted if code not in experts]:
        raise ValueError(f"{folder} has no experts of {missing}. Languages that it has: {', '.join(experts)}.")
    _load_backbone(model, weights_path, {key: weights[key] for key in weights if not LANGUAGE_TENSOR.search(key)})
    known = known_languages(model)
    if unknown := [code for code in wanted if code not in known]:  # theirs were trained with Whisper's own tokens
        raise ValueError(f"This Whisper has no language {unknown[0]!r}. Expected one of: {', '.join(sorted(known))}.")
    for code in wanted:
        name, path = experts[code]
        tensors = weights if path == weights_path else read_tensors(path)
        _load_experts(model, code, name, path, {key: tensors[key] for key in tensors if _belongs_to(key, name, path)})
    model.freeze_backbone()
    return model.eval()


def processor_of_checkpoint(folder: str | Path, base: str) -> WhisperProcessor:
    """The processor of the checkpoint, or that of its base if the checkpoint has none."""
    names = {path.name for path in Path(folder).iterdir()}
    is_complete = "tokenizer_config.json" in names and names & {"preprocessor_config.json", "processor_config.json"}
    return WhisperProcessor.from_pretrained(folder if is_complete else base)


def _read_config(folder: Path) -> dict:
    path = folder / CONFIG_NAME
    theirs = config_of(str(folder), {"local_files_only": True})
    if "language_token_ids" in theirs:
        raise ValueError(f"{folder} is already in the layout of this package. Load it with `from_pretrained`.")
    if theirs.get("model_type") not in ("distilwhisper", "whisper") or "clsr_gate_dim" not in theirs:
        raise ValueError(
            f"{path} describes a {theirs.get('model_type')!r}, with gates {theirs.get('clsr_gate_dim')} wide. Expected "
            "the config of a Whisper that the authors' code saved, with `clsr_gate_dim`."
        )
    if theirs.get("clsr_residual"):
        raise ValueError(
            f"{path} sets `clsr_residual`, which adds experts to the shared path. Expected experts that replace it."
        )
    return theirs


def _bare_model(folder: Path, theirs: dict, base: str) -> DistilWhisperForConditionalGeneration:
    """A model of the right shape, with generation settings and random weights, and without experts."""
    generation = _generation_config(folder, base)
    config = DistilWhisperConfig(
        **_whisper_settings(theirs),
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
    """Refuses a Whisper of another shape or with other tokens: the checkpoint was not trained from it."""
    of_base = WhisperConfig(**_whisper_settings(config_of(base, {})))
    of_checkpoint = WhisperConfig(**_whisper_settings(theirs))
    differ = [
        f"{name} {got}, not {expected}"
        for name in SHAPE
        if (got := getattr(of_base, name)) != (expected := getattr(of_checkpoint, name))
    ]
    if differ:
        raise ValueError(f"{base} is not the Whisper that {folder} was trained from: it has {', '.join(differ)}.")


def _whisper_settings(settings: dict) -> dict:
    names = {field.name for field in fields(WhisperConfig)} - {"architectures", "transformers_version", "dtype"}
    return {name: value for name, value in settings.items() if name in names}


def _generation_config(folder: Path, base: str) -> GenerationConfig:
    """The generation settings of the folder if they name the tokens of languages; otherwise those of the base."""
    sources = [source for source in (str(folder), base) if has_one_of(source, [GENERATION_CONFIG_NAME], {})]
    configs = {source: GenerationConfig.from_pretrained(source) for source in sources}
    if named := [config for config in configs.values() if getattr(config, "lang_to_id", None)]:
        return named[0]
    whisper = WhisperConfig.from_pretrained(base)
    for source in (str(folder), base):
        config = configs.get(source) or GenerationConfig.from_model_config(whisper)
        config = complete_generation_config(config, whisper, source)
        if getattr(config, "lang_to_id", None):
            return config
    raise ValueError(
        f"Neither {folder} nor {base} names the token of each language, in {GENERATION_CONFIG_NAME} (`lang_to_id`) or "
        "in a tokenizer. Name the multilingual Whisper that the checkpoint was trained from."
    )


def _read_weights(folder: Path) -> tuple[Path, Tensors]:
    for name in (SAFE_WEIGHTS_NAME, WEIGHTS_NAME):
        if (folder / name).is_file():
            path, tensors = folder / name, read_tensors(folder / name)
            if not any(key.startswith("model.encoder.conv1.") for key in tensors):
                raise ValueError(f"{path} is not a Whisper: it holds {', '.join([*tensors][:3]) or 'nothing'}...")
            return path, tensors
    raise FileNotFoundError(f"{folder} has neither {SAFE_WEIGHTS_NAME} nor {WEIGHTS_NAME}. Expected one of them.")


def _load_backbone(model, path: Path, tensors: Tensors) -> None:
    head, embedding = TIED
    if head in tensors and not torch.equal(tensors[head], tensors.get(embedding, tensors[head])):
        raise ValueError(f"{path}: {head} differs from {embedding}. Expected a Whisper, where they are the same.")
    expected = {key: tensor for key, tensor in model.state_dict().items() if key != head}
    names = {_shared_name(key): key for key in expected}
    tensors = {key: tensor for key, tensor in tensors.items() if key != head}
    _check_shapes(path, tensors, {name: expected[key] for name, key in names.items()})
    state = {key: tensors[name] for name, key in names.items()}
    model.load_state_dict(state | {head: state[embedding]})


def _experts_by_code(folder: Path, weights_path: Path, weights: Tensors) -> dict[str, tuple[str, Path]]:
    """Language code -> the authors' name of the language and the file with its experts."""
    among_weights = {match[1] for key in weights if (match := LANGUAGE_TENSOR.search(key))}
    candidates = [(name, weights_path) for name in among_weights]
    candidates += [
        (path.name.removeprefix("expert.").removesuffix(".bin"), path) for path in folder.glob("expert.*.bin")
    ]
    experts: dict[str, tuple[str, Path]] = {}
    for name, path in sorted(candidates):
        code = TO_LANGUAGE_CODE.get(name)
        if code is None:
            raise ValueError(
                f"{path} has experts of {name!r}. Expected a language that Whisper knows, such as 'catalan'."
            )
        if code in experts:
            raise ValueError(f"Both {experts[code][1]} and {path} have experts of {code!r}. Expected one of them.")
        experts[code] = name, path
    if not experts:
        raise ValueError(
            f"{folder} has no experts, neither in {weights_path.name} nor in files such as expert.catalan.bin."
        )
    return experts


def _belongs_to(key: str, name: str, path: Path) -> bool:
    """Whether a tensor belongs to the experts of a language. In an expert file, every tensor must."""
    return path.name.startswith("expert.") or name in LANGUAGE_TENSOR.findall(key)


def _load_experts(model, code: str, name: str, path: Path, tensors: Tensors) -> None:
    if not any(".gate_in." in key for key in tensors):
        raise ValueError(f"{path} has no gates of {name!r}. Expected them: they decide when the experts are used.")
    gates = {key: tensor for key, tensor in tensors.items() if ".gate_in." in key and key.endswith(".weight")}
    shape = (model.config.gate_dim, model.config.d_model)
    for key, tensor in gates.items():  # before there is memory for gates as wide as the config says
        if tensor.shape != shape:
            raise ValueError(f"{path}: {key} has shape {tuple(tensor.shape)}, and {CONFIG_NAME} asks for {shape}.")
    model.add_language(code)
    ours = {key: tensor for key, tensor in model.state_dict().items() if f".experts.{code}." in key}
    names = {_expert_name(key, code, name): key for key in ours if not key.endswith(".gate.threshold")}
    _check_shapes(path, tensors, {theirs: ours[key] for theirs, key in names.items()})
    model.load_state_dict({key: tensors[theirs] for theirs, key in names.items()}, strict=False)


def _check_shapes(path: Path, tensors: Tensors, expected: Tensors) -> None:
    shapes, expected_shapes = (
        {key: tuple(tensor.shape) for key, tensor in named.items()} for named in (tensors, expected)
    )
    check_shapes(str(path), shapes, expected_shapes)


def _shared_name(key: str) -> str:
    return re.sub(r"(\.layers\.\d+\.)(fc[12]\.)", r"\1ffn_clsr.proj.shared.\2", key)


def _expert_name(key: str, code: str, name: str) -> str:
    layer, part = key.split(f".experts.{code}.")
    part = part.replace("gate.hidden.", f"gate_in.{name}.").replace("gate.score.", f"gate_out.{name}.")
    return f"{layer}.ffn_clsr." + re.sub("^fc", f"proj.{name}.fc", part)


def authors_card(source: str, languages: Sequence[str], name: str) -> ModelCard | None:
    """The card of a published checkpoint, converted, whose examples load the folder `name`.

    Returns:
        `None` if `source` is not the Hub id of a published checkpoint, or if `languages` are not all of its languages:
        the card would be wrong.
    """
    if source not in PUBLISHED or Path(source).is_dir():
        return None
    card = ModelCard.load(CARDS / f"{source.removeprefix('naver/')}.md")
    if set(card.data.language) != set(languages):
        return None
    name_in_card = source.removeprefix("naver/multilingual-")
    card.text = re.sub(rf"(?<![\w-]){name_in_card}(?![\w-])", lambda _: name, card.text)
    return card


__all__ = ["PUBLISHED", "authors_card", "convert_checkpoint", "fetch_checkpoint", "processor_of_checkpoint"]
