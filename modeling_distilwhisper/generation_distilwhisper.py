"""Passes each row's language ids through `generate` to the decoding steps."""

from transformers import GenerationMixin

from .prompt_distilwhisper import LanguagePromptMixin


class LanguageRoutedGenerationMixin(GenerationMixin, LanguagePromptMixin):
    """Stands between Whisper's `generate` and the general one, where the prompts of the rows being decoded are known.

    Whisper's `generate` drops rows that long-form decoding has finished, and runs some again at another temperature. It
    calls the general `generate` with the prompts of the rows that remain, and each prompt names its language. The
    general `generate` repeats the ids for beams and for several returned sequences.

    Needs from its class: Whisper's generation mixin, before this one in the method resolution order.
    """

    def generate(self, inputs=None, *args, decoder_input_ids=None, **kwargs):
        """The general `generate`, with the language ids that the prompts, `(rows, tokens)`, ask for."""
        if decoder_input_ids is not None:
            # Kept on the CPU, so that reading them never waits for the GPU.
            language_ids, decoder_language_ids = self.read_prompt(decoder_input_ids.cpu())
            kwargs |= {"language_ids": language_ids, "decoder_language_ids": decoder_language_ids}
            # Much of what `generate` can do looks up the ids of prompts in the logits, which have no own tokens.
            decoder_input_ids = self._hide_own_tokens(decoder_input_ids)
        return super().generate(inputs, *args, decoder_input_ids=decoder_input_ids, **kwargs)

    def _get_candidate_generator(self, *args, model_kwargs, assistant_model=None, **kwargs):
        if assistant_model is not None and not hasattr(assistant_model, "read_prompt"):
            # A plain Whisper, or a decoder alone, refuses arguments that it does not know.
            model_kwargs = {name: value for name, value in model_kwargs.items() if "language_ids" not in name}
        return super()._get_candidate_generator(
            *args, model_kwargs=model_kwargs, assistant_model=assistant_model, **kwargs
        )


__all__ = ["LanguageRoutedGenerationMixin"]
