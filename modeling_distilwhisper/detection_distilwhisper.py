"""Which language is spoken: Whisper's own detection, among all of its languages or some, or with trained rows."""

import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from .calls_distilwhisper import Detection, call_state, calls_with
from .configuration_distilwhisper import DistilWhisperConfig
from .language_names_distilwhisper import language_token
from .language_tokens_distilwhisper import LanguageTokensMixin

KINDS = ("whisper", "trained")


class LanguageDetectionMixin(LanguageTokensMixin, PreTrainedModel):
    """Detects languages, and reads those that a caller of `generate` names.

    Needs from its class: Whisper with a head and its generation mixin, after this one in the method resolution order;
    and what `LanguageTokensMixin` needs.
    """

    config: DistilWhisperConfig

    def detect_language(
        self,
        input_features: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        generation_config: GenerationConfig | None = None,
        num_segment_frames: int = 3000,
        *,
        candidate_languages: list[str] | None = None,
        detection: str | None = None,
    ) -> torch.Tensor:
        """Detects the language of each row, by the first window of its recording.

        Args:
            input_features, encoder_outputs, generation_config, num_segment_frames: as for Whisper.
            candidate_languages: names of the languages to choose from. Default: all of Whisper's and, with
                `detection="trained"`, those with trained rows.
            detection: "whisper" (the default), Whisper's own; or "trained", where a language with a trained detection
                row has its logit from this row. In `generate` both are those of its call.

        Returns:
            `(batch,)`, ids of language tokens.

        Raises:
            ValueError: a candidate that cannot be detected.
        """
        chosen = call_state().detection
        if candidate_languages is not None or detection is not None:
            chosen = self._detection(candidate_languages, detection)
        if chosen.is_trained:
            logits, tokens = self._language_logits(input_features, encoder_outputs, num_segment_frames, chosen)
            return tokens[logits.argmax(dim=-1)]
        config = copy.copy(generation_config or self.generation_config)
        config.lang_to_id = {language_token(name): token for name, token in self._detectable(chosen).items()}
        return super().detect_language(input_features, encoder_outputs, config, num_segment_frames)

    def language_probabilities(
        self,
        input_features: torch.Tensor | None = None,
        *,
        encoder_outputs: Any = None,
        candidate_languages: list[str] | None = None,
        detection: str = "whisper",
    ) -> list[dict[str, float]]:
        """The probability of each language, by row, among the candidates.

        Args:
            input_features: log-mel features `(batch, mel bins, frames)`.
            encoder_outputs: instead of features.
            candidate_languages, detection: as for `detect_language`.

        Returns:
            Of each row: name of a language -> probability, the most probable first.

        Example:
            >>> import torch
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> model = DistilWhisperForConditionalGeneration.from_whisper("examples/quickstart/student", ["ca"])
            >>> features = torch.zeros(1, 80, 300, dtype=model.dtype)
            >>> (row,) = model.language_probabilities(features, candidate_languages=["ca", "gl"])
            >>> sorted(row), round(sum(row.values()), 3)
            (['ca', 'gl'], 1.0)
        """
        chosen = self._detection(candidate_languages, detection)
        logits, tokens = self._language_logits(input_features, encoder_outputs, 3000, chosen)
        names = {token: name for name, token in self.language_tokens().items()}
        codes = [names[token] for token in tokens.tolist()]
        rows = logits.softmax(dim=-1).tolist()
        return [dict(sorted(zip(codes, row, strict=True), key=lambda pair: -pair[1])) for row in rows]

    def detection_states(self, input_features: torch.Tensor | None = None, encoder_outputs: Any = None) -> torch.Tensor:
        """What the output layer reads languages from: `(batch, d_model)`, after the start token alone."""
        inputs: dict[str, Any] = {"encoder_outputs": encoder_outputs}
        if input_features is not None:
            inputs = {"input_features": input_features}
        rows = len(input_features if input_features is not None else encoder_outputs[0])
        start = torch.full((rows, 1), self.config.decoder_start_token_id, device=self.device)
        model: Any = self.base_model
        with torch.no_grad():
            return model(**inputs, decoder_input_ids=start, use_cache=False).last_hidden_state[:, -1]

    def _language_logits(
        self, input_features, encoder_outputs, num_segment_frames: int, chosen: Detection
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `(batch, languages)` of the languages to choose from, and the ids of their tokens, `(languages,)`."""
        if (input_features is None) == (encoder_outputs is None):
            raise ValueError("Expected either `input_features` or `encoder_outputs`.")
        if input_features is not None:
            input_features = input_features[:, :, :num_segment_frames]
        return self._logits_of(self.detection_states(input_features, encoder_outputs), chosen)

    def logits_of_languages(
        self, states: torch.Tensor, *, candidate_languages: list[str] | None = None, detection: str = "whisper"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `(batch, languages)` of languages, and the ids of their tokens, `(languages,)`.

        Args:
            states: `(batch, d_model)`, of `detection_states`.
            candidate_languages, detection: as for `detect_language`.
        """
        return self._logits_of(states, self._detection(candidate_languages, detection))

    def detection_columns(self, with_rows: bool = True) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Name of a language -> weight `(d_model,)` and bias `(1,)` of its logit from a detection state.

        Args:
            with_rows: whether languages with a trained row have that, or Whisper's.
        """
        head: Any = self.get_output_embeddings()
        none = torch.zeros(1, device=head.weight.device, dtype=head.weight.dtype)
        columns = {name: (head.weight[token].detach(), none) for name, token in self._whisper_tokens().items()}
        parts = dict(self._decoder.experts.items())
        for name in (self.config.detection_languages or []) if with_rows else []:
            columns[name] = (parts[name].detection_weight.detach(), parts[name].detection_bias.detach())
        return columns

    def _logits_of(self, states: torch.Tensor, chosen: Detection) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self._detectable(chosen)
        whisper = {name: token for name, token in tokens.items() if token < self.config.vocab_size}
        head: Any = self.get_output_embeddings()
        columns = dict(zip(whisper, head(states)[:, list(whisper.values())].unbind(dim=1), strict=True))
        if chosen.is_trained:
            parts = dict(self._decoder.experts.items())
            for name in self.config.detection_languages or []:
                if name in tokens and name in parts:
                    columns[name] = states @ parts[name].detection_weight + parts[name].detection_bias
        names = [name for name in tokens if name in columns]
        ids = torch.tensor([tokens[name] for name in names], device=states.device)
        return torch.stack([columns[name] for name in names], dim=1).float(), ids

    def _detectable(self, chosen: Detection) -> dict[str, int]:
        """Name -> token id of the languages to choose from, in the order of their ids."""
        tokens = self._whisper_tokens()
        if chosen.is_trained:
            own = self._own_by_name()
            tokens |= {name: own[name] for name in self.config.detection_languages or [] if name in own}
        if chosen.candidates is not None:
            unknown = [name for name in chosen.candidates if name not in tokens]
            if unknown:
                raise ValueError(
                    f"{unknown} cannot be detected{'' if chosen.is_trained else ' by Whisper itself'}: expected some "
                    f"of {', '.join(sorted(tokens))}. A language without a token of Whisper's needs a trained "
                    'detection row (`fit_detection`) and detection="trained".'
                )
            tokens = {name: token for name, token in tokens.items() if name in chosen.candidates}
        return dict(sorted(tokens.items(), key=lambda item: item[1]))

    def _detection(self, candidate_languages: list[str] | None, detection: str | None) -> Detection:
        """What a caller asks for, checked."""
        if detection not in (None, *KINDS):
            raise ValueError(f'`detection` must be "whisper" or "trained", got {detection!r}.')
        candidates = None
        if candidate_languages is not None:
            if isinstance(candidate_languages, str) or not candidate_languages:
                raise ValueError(
                    f"`candidate_languages` must be a list of at least one code, got {candidate_languages!r}."
                )
            candidates = tuple(map(self.language_called, candidate_languages))
        chosen = Detection(candidates, detection == "trained")
        self._detectable(chosen)
        return chosen

    def detecting(self, candidate_languages: list[str] | None, detection: str | None) -> AbstractContextManager[None]:
        """Within it, calls of this thread or task detect languages this way."""
        return calls_with(detection=self._detection(candidate_languages, detection))

    def _own_by_name(self) -> dict[str, int]:
        return {name: token for token, name in self.config.own_tokens.items()}

    def _with_names(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The arguments of a call of `generate` with languages as Whisper's `generate` takes them.

        A generation config may be older than experts that were loaded later: that of a pipeline is a copy.
        """
        self._name_tokens()
        if len(args) > 1:  # the second one
            args = (args[0], self._with_own_tokens(args[1]), *args[2:])
        elif "generation_config" in kwargs:
            kwargs["generation_config"] = self._with_own_tokens(kwargs["generation_config"])
        config = args[1] if len(args) > 1 else kwargs.get("generation_config")
        language = kwargs.get("language", getattr(config or self.generation_config, "language", None))
        return args, kwargs if language is None else kwargs | {"language": self._named_for_whisper(language)}

    def _named_for_whisper(self, language: Any) -> Any:
        """The `language` of a call of `generate`, with each name that only this model knows as its token."""
        if isinstance(language, (list, tuple)):
            return [self._named_for_whisper(one) for one in language]
        if not isinstance(language, str):
            return language
        try:
            name = self.language_called(language.strip("<|>"))
        except ValueError:  # "galician", or nonsense: both are for Whisper to read
            return language
        if name in self._own_by_name():
            return language_token(name)
        if name not in self._whisper_tokens():
            raise ValueError(
                f"Whisper has no language {name!r}, and no expert of it is loaded. Loaded: "
                f"{', '.join(self._languages) or 'none'}."
            )
        return language


__all__ = ["LanguageDetectionMixin"]
