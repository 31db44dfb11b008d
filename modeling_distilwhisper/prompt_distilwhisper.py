"""Which experts each row of a batch takes: language and task, read from its decoder prompt."""

from collections.abc import Mapping

import torch
from transformers import Cache, PreTrainedModel

from .calls_distilwhisper import call_state
from .configuration_distilwhisper import DistilWhisperConfig
from .own_tokens_distilwhisper import hide_own_tokens


class LanguagePromptMixin(PreTrainedModel):
    """Reads prompts, `<|startoftranscript|><|gl|><|transcribe|>...`.

    Needs from its class: a `DistilWhisperConfig` as `config`.
    """

    config: DistilWhisperConfig

    def read_prompt(self, decoder_input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads which experts each row asks for from its decoder prompt.

        Args:
            decoder_input_ids: `(batch, tokens)`; the language token follows `<|startoftranscript|>`.

        Returns:
            Two tensors `(batch,)` with the id of the row's language token, or -1 if it has none or the language has no
            loaded expert. The first is for the encoder, the second for the decoder, where rows with another task than
            the experts' (`expert_task`, by default transcription) take the shared path.

        Example:
            >>> import torch
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> start, ca, gl, transcribe, translate = 701, 713, 762, 803, 802
            >>> prompts = torch.tensor([[start, ca, transcribe], [start, ca, translate], [start, gl, transcribe]])
            >>> for_encoder, for_decoder = model.read_prompt(prompts)
            >>> for_encoder.tolist(), for_decoder.tolist()
            ([713, 713, -1], [713, -1, -1])
        """
        language_ids = self._read_languages(decoder_input_ids)
        return language_ids, self._for_decoder(language_ids, decoder_input_ids)

    def _for_decoder(self, language_ids: torch.Tensor, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        other_task = self.translates(decoder_input_ids) != (self.config.expert_task == "translate")
        return language_ids.masked_fill(other_task.to(language_ids.device), -1)

    def translates(self, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """`(batch,)`: whether the task in each row's prompt is translation.

        Args:
            decoder_input_ids: `(batch, tokens)`; the task token follows the language token.
        """
        after_start = decoder_input_ids[:, :-2] == self.config.decoder_start_token_id
        translate = -1 if self.config.translate_token_id is None else self.config.translate_token_id
        return (after_start & (decoder_input_ids[:, 2:] == translate)).any(dim=1)

    def require_experts(self, decoder_input_ids: torch.Tensor) -> None:
        """Checks that each row of `(batch, tokens)` names a language that has an expert to train.

        Raises:
            ValueError: a row does not.
        """
        without_expert = self._read_languages(decoder_input_ids) < 0
        if without_expert.any():
            row = int(without_expert.nonzero()[0])
            raise ValueError(
                f"The language of row {row} (token {int(decoder_input_ids[row, 1])}) has no expert. Expected labels "
                f"that begin with the token of one of {self.config.language_token_ids}, then task, <|notimestamps|>, "
                "text..., end. For another language, use `add_language` or `load_experts` first."
            )

    def _complete_language_ids(
        self,
        decoder_input_ids: torch.Tensor | None,
        cache: Cache | None,
        language_ids: torch.Tensor | None,
        decoder_language_ids: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Language ids for encoder and decoder, `(batch,)`: those given; else those that the prompt asks for.

        Raises:
            ValueError: one of them is not given and the prompt is only in the cache.
        """
        is_complete = language_ids is not None and decoder_language_ids is not None
        if is_complete or decoder_input_ids is None or not self._experts_by_token():
            return language_ids, decoder_language_ids
        if cache is not None and cache.get_seq_length() > 0:
            raise ValueError(
                "The prompt, which names language and task, is only in the cache. Pass `language_ids` and "
                "`decoder_language_ids` with it, as `read_prompt` returns them. (`generate` does so.)"
            )
        if language_ids is None:
            language_ids = self._read_languages(decoder_input_ids)
        if decoder_language_ids is None:
            decoder_language_ids = self._for_decoder(language_ids, decoder_input_ids)
        return language_ids, decoder_language_ids

    def _read_languages(self, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """`(batch,)`: the id of the token after `<|startoftranscript|>` if that language has an expert, else -1.

        Raises:
            ValueError: on a CPU, an id that is neither in the vocabulary nor that of a language that is loaded.
        """
        if decoder_input_ids.device.type == "cpu" and not torch.compiler.is_compiling():
            self._refuse_unknown_tokens(decoder_input_ids)
        after_start = decoder_input_ids[:, :-1] == self.config.decoder_start_token_id
        known = torch.tensor(list(self._experts_by_token()), dtype=torch.long, device=decoder_input_ids.device)
        is_language = after_start & torch.isin(decoder_input_ids[:, 1:], known)
        # A prompt names at most one language. The maximum is that token's id, or -1 if there is none.
        candidates = torch.where(is_language, decoder_input_ids[:, 1:], -1)
        none = torch.full_like(decoder_input_ids[:, :1], -1)
        return torch.cat([candidates, none], dim=1).amax(dim=1)

    def _refuse_unknown_tokens(self, decoder_input_ids: torch.Tensor) -> None:
        unknown = set(decoder_input_ids[decoder_input_ids >= self.config.vocab_size].tolist()) - {*self._own_tokens()}
        if unknown:
            names = {token: name for name, token in (self.config.language_token_ids or {}).items()}
            raise ValueError(
                f"The token {min(unknown)} is that of {names.get(min(unknown), 'no language')!r}, whose experts are "
                f"not loaded. Expected an id below {self.config.vocab_size}, or one of {self._own_tokens()}."
            )

    def _hide_own_tokens(self, decoder_input_ids: torch.Tensor | None) -> torch.Tensor | None:
        """The ids `(batch, tokens)` as the decoder takes them, with its language ids beside them."""
        own_tokens = self._own_tokens()
        if decoder_input_ids is None or not own_tokens or decoder_input_ids.shape[1] == 1:
            return decoder_input_ids
        return hide_own_tokens(decoder_input_ids, own_tokens, self.config.decoder_start_token_id)

    def _own_tokens(self) -> dict[int, str]:
        """Those of `_experts_by_token` whose token is not in the vocabulary."""
        by_token = self._experts_by_token().items()
        return {token: name for token, name in by_token if token >= self.config.vocab_size}

    def _experts_by_token(self) -> Mapping[int, str]:
        """Language token id -> language code: of the experts that this call carries, or of those that are loaded."""
        carried = call_state().experts.get(self)
        return self.config.experts_by_token if carried is None else carried.by_token


__all__ = ["LanguagePromptMixin"]
