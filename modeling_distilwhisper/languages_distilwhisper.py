"""The languages that a Whisper knows: from its generation config, or else from its tokenizer."""

import re

from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, WhisperTokenizer
from transformers.utils import logging

from .language_names_distilwhisper import language_name

logger = logging.get_logger(__name__)
LANGUAGE_TOKEN = re.compile(r"<\|([a-z]{2,3})\|>")  # as Whisper's own are
TASKS = ("transcribe", "translate")
ENGLISH_VOCABULARY = 51864  # of the Whispers for English alone. Their tokenizers list the other languages too.


def known_languages(model: PreTrainedModel) -> dict[str, int]:
    """The languages that a Whisper knows.

    Args:
        model: any Whisper whose generation config is complete (`complete_generation_config`).

    Returns:
        Language code -> id of its token.

    Raises:
        ValueError: it is a Whisper for English alone, or neither its generation config nor its tokenizer names
            languages.

    Example:
        >>> from modeling_distilwhisper import load_model
        >>> from modeling_distilwhisper.languages_distilwhisper import known_languages
        >>> known_languages(load_model("examples/quickstart/student"))["gl"]
        762
    """
    name = model.name_or_path or "This Whisper"
    tokens = getattr(model.generation_config, "lang_to_id", None) or {}
    if not tokens and is_english(model):
        raise ValueError(f"{name} is a Whisper for English alone. Expected a multilingual one.")
    if not tokens:
        raise ValueError(
            f"{name} does not say which tokens are languages: it has no `lang_to_id` in generation_config.json, and no "
            "tokenizer with tokens such as <|en|>. Copy tokenizer.json or generation_config.json from the Whisper that "
            "it was made from."
        )
    return {language_of_token(token_name): token for token_name, token in tokens.items()}


def language_of_token(token: str) -> str:
    """The name of the language that a token such as `<|de-ch|>` stands for: `de-CH`."""
    try:
        return language_name(token.strip("<|>"))
    except ValueError:  # a Whisper of others may call its languages as it likes
        return token.strip("<|>")


def without_own_tokens(lang_to_id: dict[str, int], vocab_size: int) -> dict[str, int]:
    """Those languages of a generation config whose token is in the vocabulary."""
    return {name: token for name, token in lang_to_id.items() if token < vocab_size}


def is_english(model: PreTrainedModel) -> bool:
    """Whether it is a Whisper for English alone, whose prompt has neither language nor task."""
    return _is_english(model.generation_config, model.config)


def _is_english(config: GenerationConfig | None, whisper: PreTrainedConfig) -> bool:
    if getattr(config, "lang_to_id", None):
        return not getattr(config, "is_multilingual", True)
    return getattr(whisper, "vocab_size", 0) == ENGLISH_VOCABULARY or getattr(config, "is_multilingual", None) is False


def complete_generation_config(
    config: GenerationConfig, whisper: PreTrainedConfig, source: str, hub: dict | None = None
) -> GenerationConfig:
    """Adds what a Whisper's generation config lacks: the tokens of languages and tasks, and a maximum length.

    Many Whispers on the Hub have no generation_config.json, or one from before there were languages in it. `generate`
    and the experts need these tokens, and the tokenizer has them. A list of one end token becomes that token.

    Args:
        config: the generation config.
        whisper: the model's config.
        source: folder or Hub id of the tokenizer.
        hub: where in it (`HUB_ARGUMENTS`).

    Returns:
        A complete config; the same one if it names languages already, or if no tokenizer does.
    """
    keep_one_end_token(config)
    if getattr(config, "lang_to_id", None):
        return config
    # Without a length in either config, transcripts would end after 20 tokens.
    length = {} if config.max_length else {"max_length": whisper.max_target_positions}
    if _is_english(config, whisper):
        return _with(config, is_multilingual=False, **length)
    try:
        vocabulary = WhisperTokenizer.from_pretrained(source, **(hub or {})).get_vocab()
    except Exception as error:  # of any class: files may be absent, damaged, or of another kind of tokenizer
        logger.warning(f"{source}: its languages are unknown, since no tokenizer can be loaded ({error}).")
        return config
    vocabulary = {name: token for name, token in vocabulary.items() if token < whisper.vocab_size}
    languages = {name: token for name, token in vocabulary.items() if LANGUAGE_TOKEN.fullmatch(name)}
    if not languages:
        return config
    tasks = {task: vocabulary[f"<|{task}|>"] for task in TASKS if f"<|{task}|>" in vocabulary}
    single = {"no_timestamps_token_id": "<|notimestamps|>", "prev_sot_token_id": "<|startofprev|>"}
    tokens = {setting: vocabulary[name] for setting, name in single.items() if name in vocabulary}
    return _with(config, is_multilingual=True, lang_to_id=languages, task_to_id=tasks, **tokens, **length)


def keep_one_end_token(config: GenerationConfig) -> None:
    """Makes a list of one end token that token, since Whisper's `generate` with timestamps fails on a list.

    `Trainer` of Transformers before 5.18 makes such a list, and a model saves it.
    """
    if isinstance(config.eos_token_id, list) and len(config.eos_token_id) == 1:
        (config.eos_token_id,) = config.eos_token_id


def _with(config: GenerationConfig, **settings) -> GenerationConfig:
    """A config with more settings. One made from the model's config would lose them when it is saved and loaded."""
    kept = {name: value for name, value in config.to_dict().items() if not name.startswith("_")}
    return GenerationConfig.from_dict({**kept, **settings})


__all__ = [
    "complete_generation_config",
    "is_english",
    "keep_one_end_token",
    "known_languages",
    "language_of_token",
    "without_own_tokens",
]
