"""The names and tokens of a model's languages: Whisper's, and own ones of languages that Whisper has no token for."""

import copy
from collections.abc import Mapping
from threading import RLock
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from .configuration_distilwhisper import DistilWhisperConfig
from .language_modules_distilwhisper import LanguageParts
from .language_names_distilwhisper import (
    WHISPER_CODES,
    language_name,
    language_names,
    language_token,
    nearest_language,
    related_language,
)
from .languages_distilwhisper import known_languages, without_own_tokens

logger = logging.get_logger(__name__)
CHANGES = RLock()  # one thread at a time adds or removes a language


class LanguageTokensMixin(PreTrainedModel):
    """Which languages a model knows by which names, and their tokens.

    Needs from its class: a Transformers model of Whisper's layout, whose decoder has the parts of languages as
    `experts`; a `DistilWhisperConfig` as `config`; and Whisper's generation config, which names the languages' tokens,
    as `generation_config`.
    """

    config: DistilWhisperConfig
    generation_config: Any

    def language_called(self, tag: str) -> str:
        """The name by which this model knows a language: `ca` for "cat", `de-CH` for "de_ch".

        Raises:
            ValueError: it is no language code.
        """
        name = language_name(tag)
        whisper, other = self._whisper_tokens(), WHISPER_CODES.get(name)
        if name in whisper or name in self._languages or other is None:
            return name
        return other if other in whisper else name

    def language_tokens(self) -> dict[str, int]:
        """Name -> id of its token, of Whisper's languages and of those that are loaded."""
        return self._whisper_tokens() | {name: token for token, name in self.config.own_tokens.items()}

    def whisper_language(self, language: str) -> str | None:
        """The code by which a plain Whisper is asked for a language: its own, or that of its relative; else `None`.

        Example:
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, ["ga"], init_from={"ga": "cy"})
            >>> model.whisper_language("ca"), model.whisper_language("ga")
            ('ca', 'cy')
        """
        relatives = self.config.language_relatives or {}
        return related_language(self.language_called(language), relatives, self._whisper_tokens())

    def set_detection_row(self, language: str, weight: torch.Tensor, bias: float) -> None:
        """Gives a language a detection row, which `detection="trained"` uses (`fit_detection` trains it).

        Args:
            language: has experts.
            weight: `(d_model,)`.
            bias: a number.

        Raises:
            ValueError: the language has no expert, or the numbers are not finite.
        """
        with CHANGES:
            name = self.language_called(language)
            if name not in self._languages:
                raise ValueError(f"No expert of {name!r} is loaded. Loaded: {', '.join(self._languages) or 'none'}.")
            values = torch.cat([weight.detach().reshape(-1).cpu(), torch.tensor([bias])])
            if len(values) != self.config.d_model + 1 or not values.isfinite().all():
                raise ValueError(f"Expected {self.config.d_model} finite weights and a finite bias for {name!r}.")
            before, norm = dict(self._decoder.experts.items()).get(name), self._decoder.layer_norm.weight
            parts = LanguageParts(
                self.config.d_model, embedding=getattr(before, "embedding", None) is not None, detection=True
            )
            state = {} if before is None else {key: value for key, value in before.state_dict().items()}
            parts.load_state_dict(state | {"detection_weight": values[:-1], "detection_bias": values[-1:]})
            parts.to(norm.device, norm.dtype).requires_grad_(False)
            if before is not None and before.embedding is not None:
                parts.embedding = before.embedding  # the parameter itself: an optimizer may hold it
            self._decoder.set_experts({**self._decoder.experts, name: parts})
            others = [other for other in self.config.detection_languages or [] if other != name]
            self.config.detection_languages = [*others, name]

    def set_language_tokens(self, tokens: Mapping[str, int]) -> None:
        """Gives languages whose token is not in the vocabulary other ids, such as those of a tokenizer.

        Args:
            tokens: name -> id, of some of the languages that are loaded.

        Raises:
            ValueError: an id is one of the vocabulary, or two languages would have the same.
        """
        with CHANGES:
            kept = {name: index for index, name in self.config.own_tokens.items() if name not in tokens}
            ids = [*kept.values(), *tokens.values()]
            if len(set(ids)) < len(ids) or min(ids) < self.config.vocab_size:
                raise ValueError(
                    f"Expected an id of its own for each language, from {self.config.vocab_size} on, got "
                    f"{dict(tokens)} beside {kept}."
                )
            others = {name: index for name, index in (self.config.language_token_ids or {}).items() if index not in ids}
            self.config.language_token_ids = others | kept | dict(tokens)
            self._name_tokens()

    @torch.no_grad()
    def start_embedding(self, language: str, init_from: str | Mapping[str, float]) -> None:
        """Makes the embedding of a language's own token what it starts as (`add_language`).

        Raises:
            ValueError: the language is not loaded or has a token of Whisper's, or `init_from` is of no use.
        """
        name = self.language_called(language)
        weights = self._start_of_embedding(name, init_from)
        if weights is None or name not in self.config.own_tokens.values():
            raise ValueError(f"{name!r} has no token of its own. Loaded: {self._languages}.")
        self._decoder.experts[name].embedding.copy_(self._mean_embedding(weights))
        relative = max(weights, key=lambda other: weights[other])
        self.config.language_relatives = {**(self.config.language_relatives or {}), name: relative}

    def _start_of_embedding(self, language: str, init_from: str | Mapping[str, float] | None) -> dict | None:
        """The languages whose mean a new token's embedding starts as, with weights. `None`: Whisper has the token."""
        whisper = self._whisper_tokens()
        if language in whisper:
            if init_from is not None:
                raise ValueError(f"Whisper has a token for {language!r}: `init_from` is for languages without one.")
            return None
        if init_from is None:
            nearest = nearest_language(language, whisper)
            if nearest is None:
                logger.warning(
                    f"Whisper has no language {language!r}: it gets a token of its own, which starts as the mean of "
                    "all of Whisper's. (`init_from` names a related language.)"
                )
            return dict.fromkeys(whisper, 1.0) if nearest is None else {nearest: 1.0}
        weights = {init_from: 1.0} if isinstance(init_from, str) else dict(init_from)
        named = dict(zip(map(self.language_called, language_names(list(weights))), weights.values(), strict=True))
        there = whisper.keys() | set(self.config.own_tokens.values())
        unknown = [relative for relative in named if relative not in there]
        are_weights = any(named.values()) and all(0 <= weight < torch.inf for weight in named.values())
        if unknown or not are_weights:
            raise ValueError(
                f"`init_from` of {language!r} must be languages that are there, with weights from 0 on, got "
                f"{init_from!r}. Expected some of: {', '.join(sorted(there))}."
            )
        return named

    def _mean_embedding(self, weights: Mapping[str, float]) -> torch.Tensor:
        table, own = self.base_model.get_input_embeddings().weight, dict(self._decoder.experts.items())
        whisper = self._whisper_tokens()
        rows = [table[whisper[name]] if name in whisper else own[name].embedding for name in weights]
        shares = torch.tensor(list(weights.values()), dtype=torch.float64)
        stacked = torch.stack([row.detach().double().cpu() for row in rows])
        return (shares / shares.sum()) @ stacked

    def _whisper_tokens(self) -> dict[str, int]:
        """Code -> id of its token, of the languages in Whisper's vocabulary."""
        known = getattr(self.generation_config, "lang_to_id", None)
        if known:
            codes = {token.strip("<|>"): index for token, index in known.items()}
        else:
            codes = dict(self.config.language_token_ids or {}) or known_languages(self)
        return {code: index for code, index in codes.items() if index < self.config.vocab_size}

    def _name_tokens(self) -> None:
        """Names the own tokens of the languages that are loaded in the generation config, where `generate` looks."""
        self.generation_config = self._with_own_tokens(self.generation_config)

    def _with_own_tokens(self, config: Any) -> Any:
        """A generation config that names the own tokens of the languages that are loaded, and of no others."""
        known = getattr(config, "lang_to_id", None)
        own = {language_token(name): token for token, name in self.config.own_tokens.items()}
        named = known and without_own_tokens(known, self.config.vocab_size) | own
        if named == known:
            return config
        config = copy.copy(config)  # another thread may be reading it
        config.lang_to_id = named
        return config

    def _token_for(self, language: str) -> int:
        """The id of a language's token: Whisper's, the one that the config names, or the next behind the vocabulary."""
        if (token := self._whisper_tokens().get(language)) is not None:
            return token
        token_ids, vocab_size = self.config.language_token_ids or {}, self.config.vocab_size
        taken = {index for name, index in token_ids.items() if name != language}
        named = token_ids.get(language, -1)
        return named if named >= vocab_size and named not in taken else max(vocab_size - 1, *taken, -1) + 1

    @property
    def _decoder(self) -> Any:
        return self.base_model.decoder

    @property
    def _languages(self) -> list[str]:
        """Codes of the languages whose experts are loaded."""
        return list(self.config.languages or [])


__all__ = ["CHANGES", "LanguageTokensMixin"]
