"""Tokens of languages that Whisper has none for. They stand in prompts alone: ids from `vocab_size` on, no logits.

A prompt names such a language as any other: `<|startoftranscript|><|ga|><|transcribe|>`. Its embedding is in the
experts' file. The output layer does not grow, so logits, timestamps and language detection stay Whisper's.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from .configuration_distilwhisper import DistilWhisperConfig
from .language_names_distilwhisper import language_token

LAST_BEFORE_TIMESTAMPS = "<|notimestamps|>"  # timestamps follow it, whether or not a tokenizer lists them
SECONDS = 0.02  # from one timestamp to the next


def hide_own_tokens(input_ids: torch.Tensor, own_tokens: Iterable[int], start: int) -> torch.Tensor:
    """Token ids in which the start token stands for each language token that is not in the vocabulary.

    The start token is in every prompt and is never an output, so what looks at the prompt's ids, as a penalty for
    repetitions does, is not misled.

    Args:
        input_ids: `(batch, tokens)`.
        own_tokens: ids of these language tokens.
        start: id of `<|startoftranscript|>`.
    """
    for token in own_tokens:
        input_ids = torch.where(input_ids == token, start, input_ids)
    return input_ids


def put_own_embeddings(
    embeds: torch.Tensor,
    input_ids: torch.Tensor,
    language_ids: torch.Tensor,
    embeddings: Mapping[int, torch.Tensor],
    start: int,
) -> torch.Tensor:
    """Embeddings of prompts, with those of the languages' own tokens in their places.

    Args:
        embeds: `(batch, tokens, d_model)`, of `input_ids`.
        input_ids: `(batch, tokens)`, as `hide_own_tokens` returns them: a second start token follows the first.
        language_ids: `(batch,)`: each row's language token.
        embeddings: id of a language's own token -> `(d_model,)`.
        start: id of `<|startoftranscript|>`.
    """
    is_start = input_ids == start
    follows = nn.functional.pad(is_start[:, :-1], (1, 0)) & is_start
    language_ids = language_ids.to(input_ids.device, non_blocking=True).unsqueeze(1)
    for token, embedding in embeddings.items():
        here = (follows & (language_ids == token)).unsqueeze(-1)
        embeds = torch.where(here, embedding.to(embeds.device, embeds.dtype), embeds)
    return embeds


def add_own_tokens(tokenizer: PreTrainedTokenizerBase, model) -> None:
    """Gives a tokenizer the tokens of a model's languages that Whisper has none for, with the ids that the model knows.

    Where the tokenizer has such a token already, or another one in its place, the model takes the tokenizer's id.

    Args:
        tokenizer: of the model's Whisper. It changes.
        model: a `DistilWhisperForConditionalGeneration`, or any Whisper, to which nothing is done.

    Example:
        >>> from transformers import WhisperTokenizer
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, add_own_tokens
        >>> student = "examples/quickstart/student"
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, ["ga"], init_from={"ga": "cy"})
        >>> tokenizer = WhisperTokenizer.from_pretrained(student)
        >>> add_own_tokens(tokenizer, model)
        >>> tokenizer.convert_tokens_to_ids("<|ga|>") == model.config.language_token_ids["ga"]
        True
    """
    if moved := place_own_tokens(tokenizer, model.config):
        model.set_language_tokens(moved)


def place_own_tokens(tokenizer: PreTrainedTokenizerBase, config) -> dict[str, int]:
    """`add_own_tokens` by the config alone.

    Returns:
        The languages whose token has another id in the tokenizer than in the config -> this id.
    """
    moved = {}
    for index, name in dict(getattr(config, "own_tokens", {})).items():
        token = language_token(name)
        there = tokenizer.get_vocab().get(token)
        if there is not None and there < config.vocab_size:
            raise ValueError(
                f"The tokenizer has {token} as token {there} of Whisper's vocabulary, and the generation config does "
                f"not name it. Add it to `lang_to_id` there, and make the experts of {name} anew: they take it then."
            )
        if there is None:
            _fill(tokenizer, config, index)
            tokenizer.add_tokens([token], special_tokens=True)
            there = tokenizer.get_vocab()[token]
        if there != index:
            moved[name] = there
    return moved


def with_own_languages(config: PreTrainedConfig, tokenizer, languages: Iterable[str], relatives: Mapping[str, str]):
    """A config of a Whisper as one that some languages are added to, without a model; its tokens are in the tokenizer.

    Args:
        config: of any Whisper.
        tokenizer: its tokenizer. It changes.
        languages: names. Those that have a token are left as they are.
        relatives: name -> the language that it is started from.

    Returns:
        A `DistilWhisperConfig` that names the own tokens of the others; `config` itself if there are none.
    """
    known = tokenizer.get_vocab()
    new = [name for name in languages if known.get(language_token(name), -1) < 0]
    if not new:
        return config
    settings = config.to_dict()
    settings["languages"] = [*(settings.get("languages") or []), *new]
    token_ids = dict(settings.get("language_token_ids") or {})
    for name in new:
        token_ids[name] = max(config.vocab_size - 1, *token_ids.values(), -1) + 1
    settings["language_token_ids"] = token_ids
    settings["language_relatives"] = {**(settings.get("language_relatives") or {}), **relatives}
    changed = DistilWhisperConfig.from_dict({key: value for key, value in settings.items() if key != "model_type"})
    changed.language_token_ids = token_ids | place_own_tokens(tokenizer, changed)
    return changed


def _fill(tokenizer: PreTrainedTokenizerBase, config, end: int) -> None:
    """Adds tokens until the next one gets the id `end`: timestamps, languages that are not loaded, and empty places."""
    first = int(tokenizer.convert_tokens_to_ids(LAST_BEFORE_TIMESTAMPS)) + 1  # type: ignore[call-overload]
    not_loaded = {index: language_token(name) for name, index in (config.language_token_ids or {}).items()}
    size, vocab_size = len(tokenizer), config.vocab_size
    tokenizer.add_tokens([f"<|{(index - first) * SECONDS:.2f}|>" for index in range(size, min(end, vocab_size))])
    later = range(max(size, vocab_size), end)
    tokenizer.add_tokens([not_loaded.get(index, f"<|language {index}|>") for index in later], special_tokens=True)


__all__ = ["add_own_tokens", "hide_own_tokens", "place_own_tokens", "put_own_embeddings", "with_own_languages"]
