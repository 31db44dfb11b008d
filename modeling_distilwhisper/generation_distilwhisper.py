"""Which experts each row of a batch takes, read from its decoder prompt, and handed on through `generate`."""

import torch
from transformers import GenerationMixin


class LanguageRoutedGenerationMixin(GenerationMixin):
    """Between Whisper's `generate` and the general one, where the prompts of exactly the rows in flight are known.

    Long-form decoding drops rows that are finished and temperature fallback runs some again; here, past both, each
    row's prompt still names its language. The general `generate` repeats the ids for beams and for several returns.
    """

    def generate(self, inputs=None, *args, decoder_input_ids: torch.Tensor | None = None, **kwargs):
        if decoder_input_ids is not None:
            # On the CPU, where no decoding step has to wait to read them.
            language_ids, decoder_language_ids = self.read_prompt(decoder_input_ids.cpu())
            kwargs |= {"language_ids": language_ids, "decoder_language_ids": decoder_language_ids}
        return super().generate(inputs, *args, decoder_input_ids=decoder_input_ids, **kwargs)

    def _get_candidate_generator(self, *args, model_kwargs: dict, assistant_model=None, **kwargs):
        if assistant_model is not None and not hasattr(assistant_model, "read_prompt"):
            # A plain Whisper, or a decoder alone, refuses arguments that it has no use for.
            model_kwargs = {name: value for name, value in model_kwargs.items() if "language_ids" not in name}
        return super()._get_candidate_generator(
            *args, model_kwargs=model_kwargs, assistant_model=assistant_model, **kwargs
        )

    def read_prompt(self, decoder_input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads which experts each row asks for from its decoder prompt.

        Args:
            decoder_input_ids: `(batch, tokens)`; the language token stands right behind `<|startoftranscript|>`.

        Returns:
            Two tensors `(batch,)` with the id of the row's language token, or -1 where there is none or it has no
            loaded expert: for the encoder, and for the decoder, which translates on the shared path (section 3).
        """
        behind_start = decoder_input_ids[:, :-1] == self.config.decoder_start_token_id
        known = torch.tensor(list(self.config.experts_by_token), dtype=torch.long, device=decoder_input_ids.device)
        named = behind_start & torch.isin(decoder_input_ids[:, 1:], known)
        # At most one language a prompt; the maximum picks it and is -1 where there is none.
        candidates = torch.where(named, decoder_input_ids[:, 1:], -1)
        none = torch.full_like(decoder_input_ids[:, :1], -1)
        language_ids = torch.cat([candidates, none], dim=1).amax(dim=1)
        return language_ids, language_ids.masked_fill(self.translates(decoder_input_ids), -1)

    def translates(self, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """`(batch,)`: whether the task in each row's prompt is translation."""
        behind_start = decoder_input_ids[:, :-2] == self.config.decoder_start_token_id
        translate = -1 if self.config.translate_token_id is None else self.config.translate_token_id
        return (behind_start & (decoder_input_ids[:, 2:] == translate)).any(dim=1)


__all__ = ["LanguageRoutedGenerationMixin"]
