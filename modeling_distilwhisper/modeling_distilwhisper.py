"""Multilingual DistilWhisper: a Whisper whose layers route each token to its language's expert or to the shared path.

This file holds only what differs from Whisper. A batch without experts runs Whisper's code, layer by layer.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.models.whisper.modeling_whisper import WhisperModel, shift_tokens_right
from transformers.utils import can_return_tuple

from .cache_distilwhisper import cache_in
from .calls_distilwhisper import keep_experts
from .configuration_distilwhisper import DistilWhisperConfig
from .detection_distilwhisper import LanguageDetectionMixin

# Not used here, but imported: Transformers below 5.8 copies into a checkpoint only the files that this one imports.
from .expert_file_distilwhisper import expert_file_name  # noqa: F401
from .expert_layers_distilwhisper import LanguageExpert  # noqa: F401
from .experts_distilwhisper import LanguageExpertsMixin  # noqa: F401
from .files_distilwhisper import staged_folder  # noqa: F401
from .fingerprint_distilwhisper import fingerprint  # noqa: F401
from .gate_record_distilwhisper import GateRecords
from .generation_distilwhisper import LanguageRoutedGenerationMixin
from .hub_distilwhisper import PushExpertsMixin
from .language_modules_distilwhisper import LanguageModules  # noqa: F401
from .language_names_distilwhisper import language_name  # noqa: F401
from .language_tokens_distilwhisper import LanguageTokensMixin  # noqa: F401
from .languages_distilwhisper import known_languages  # noqa: F401
from .layers_distilwhisper import LAYERS, BuiltOnWhisper, DistilWhisperDecoder, DistilWhisperEncoder
from .loading_distilwhisper import LoadingMixin
from .names_distilwhisper import public_name  # noqa: F401
from .numbers_distilwhisper import check_numbers  # noqa: F401
from .own_tokens_distilwhisper import add_own_tokens  # noqa: F401
from .prompt_distilwhisper import LanguagePromptMixin
from .repository_distilwhisper import languages_in  # noqa: F401
from .routing_distilwhisper import Routing  # noqa: F401
from .saving_distilwhisper import SavingMixin  # noqa: F401

EXPERT_KEYS = [r"\.experts\."]  # not in `model.safetensors`: each language has a file of its own


@dataclass
class DistilWhisperOutput(Seq2SeqLMOutput):
    """Whisper's output and, with `output_gates=True`, how each layer gated each token (eq. 4.2 to 4.5).

    Args:
        encoder_gates (`tuple` of `(batch, frames)`, a tensor for each layer):
            1 where the expert ran, 0 where the shared path ran or the row has no expert. In training the values that
            the budget counts: before skipping, differentiable.
        decoder_gates (`tuple` of `(batch, tokens)`): the same for the decoder.
        encoder_gate_logits (`tuple` of `(batch, frames)`): `G(z)` of eq. 4.3, minus infinity in rows without an expert.
        decoder_gate_logits (`tuple` of `(batch, tokens)`): the same for the decoder.
        language_ids (`(batch,)`): id of each row's language token as the encoder used it, -1 without an expert.
        decoder_language_ids (`(batch,)`): the same for the decoder: -1 also where the task is translation.

    Example:
        >>> import torch
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
        >>> student = "examples/quickstart/student"
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
        >>> features = torch.zeros(1, 80, 300, dtype=model.dtype)
        >>> ca, transcribe, no_timestamps, word, end = 713, 803, 807, 40, 700
        >>> labels = torch.tensor([[ca, transcribe, no_timestamps, word, end]])
        >>> output = model(features, labels=labels, output_gates=True)
        >>> [tuple(gates.shape) for gates in output.decoder_gates], output.language_ids.tolist()
        ([(1, 5), (1, 5), (1, 5)], [713])
    """

    encoder_gates: tuple[torch.Tensor, ...] | None = None
    decoder_gates: tuple[torch.Tensor, ...] | None = None
    encoder_gate_logits: tuple[torch.Tensor, ...] | None = None
    decoder_gate_logits: tuple[torch.Tensor, ...] | None = None
    language_ids: torch.Tensor | None = None
    decoder_language_ids: torch.Tensor | None = None


class DistilWhisperModel(LoadingMixin, PushExpertsMixin, LanguagePromptMixin, BuiltOnWhisper, WhisperModel):
    """Whisper with gated language experts, without the head. `AutoModel` returns it.

    Example:
        >>> import torch
        >>> from modeling_distilwhisper import DistilWhisperModel
        >>> model = DistilWhisperModel.from_whisper("examples/quickstart/student", languages=["ca"])
        >>> features = torch.zeros(1, 80, 300, dtype=model.dtype)
        >>> start, ca, transcribe = 701, 713, 803
        >>> output = model(features, decoder_input_ids=torch.tensor([[start, ca, transcribe]]))
        >>> output.last_hidden_state.shape
        torch.Size([1, 3, 96])
    """

    config_class = DistilWhisperConfig
    config: DistilWhisperConfig
    _no_split_modules = LAYERS
    _keys_to_ignore_on_load_missing = EXPERT_KEYS
    generation_config: Any = None  # `from_pretrained` sets it: it names the languages' tokens

    def _replace_parts(self, config: DistilWhisperConfig) -> None:
        self.encoder = DistilWhisperEncoder(config)
        self.decoder = DistilWhisperDecoder(config)

    def forward(
        self,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: tuple[torch.Tensor] | None = None,
        *,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        language_ids: torch.Tensor | None = None,
        decoder_language_ids: torch.Tensor | None = None,
        gate_noise: float = 0.0,
        gate_records: GateRecords | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor] | Seq2SeqModelOutput:
        """Whisper's forward with routing. Other arguments are Whisper's.

        Args:
            input_features: log-mel features `(batch, mel bins, frames)`.
            decoder_input_ids: `(batch, tokens)`, `[<|startoftranscript|>, <|gl|>, <|transcribe|>, ...]`.
            language_ids: `(batch,)`, ids of language tokens, -1 for the shared path. Default: as the prompt says.
            decoder_language_ids: the same for the decoder alone. Default: `language_ids`, but -1 for translation.
            gate_noise: alpha(t), the scale of the noise in soft training gates (eq. 4.2).
            gate_records: where the layers write their gates.

        Raises:
            ValueError: a filled cache without both language ids; ids that are not one per row.
        """
        with keep_experts(self):
            language_ids, decoder_language_ids = self._complete_language_ids(
                decoder_input_ids, cache_in(kwargs), language_ids, decoder_language_ids
            )
            return super().forward(
                input_features,
                attention_mask=attention_mask,
                decoder_input_ids=self._hide_own_tokens(decoder_input_ids),
                decoder_attention_mask=decoder_attention_mask,
                encoder_outputs=encoder_outputs,
                decoder_inputs_embeds=decoder_inputs_embeds,
                decoder_position_ids=decoder_position_ids,
                use_cache=use_cache,
                language_ids=language_ids,
                decoder_language_ids=decoder_language_ids,
                gate_noise=gate_noise,
                gate_records=gate_records,
                **kwargs,
            )


class DistilWhisperForConditionalGeneration(
    LoadingMixin,
    PushExpertsMixin,
    LanguageDetectionMixin,
    BuiltOnWhisper,
    WhisperForConditionalGeneration,
    LanguageRoutedGenerationMixin,
):
    """Whisper with gated language experts (Multilingual DistilWhisper, section 4).

    Made from a plain Whisper by `from_whisper`, loaded by `from_pretrained(..., languages=[...])`. It is used as
    Whisper is: each row's experts are chosen by the language token in its prompt, so batches may mix languages.

    Example:
        >>> import torch
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
        >>> student = "examples/quickstart/student"
        >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
        >>> features = torch.zeros(2, 80, 300, dtype=model.dtype)
        >>> tokens = model.generate(features, language=["ca", "en"], task="transcribe", max_new_tokens=2)
        >>> tokens.shape[0]
        2
    """

    config_class = DistilWhisperConfig
    config: DistilWhisperConfig
    _no_split_modules = LAYERS
    _keys_to_ignore_on_load_missing = EXPERT_KEYS

    def __init__(self, config: DistilWhisperConfig):
        config = copy.deepcopy(config)  # so that the caller's config is not changed
        # The speech pipeline and `generate` recognise a Whisper by this string. The class's type, "distilwhisper", is
        # the one that is saved.
        config.__dict__["model_type"] = "whisper"
        super().__init__(config)

    def _replace_parts(self, config: DistilWhisperConfig) -> None:
        self.model = DistilWhisperModel(config)

    def generate(
        self,
        *args,
        language_ids: torch.Tensor | None = None,
        candidate_languages: list[str] | None = None,
        detection: str | None = None,
        **kwargs,
    ):
        """Whisper's `generate`. Each row takes the experts of its `language`, given, or detected by Whisper itself.

        Args:
            args, kwargs: as for `WhisperForConditionalGeneration.generate`. `language` may name any language that has
                experts, such as "ga", also one that Whisper has no token for.
            language_ids: must not be given.
            candidate_languages: without a `language`, the languages to choose from; by default, all.
            detection: "whisper" (the default), or "trained", by the rows that `fit_detection` has trained.

        Raises:
            ValueError: `language_ids` are given: the prompt decides, and it is made from `language`; or a language
                that has no experts and no token of Whisper's.
        """
        # An assistant gets the complete prompt, and the ids that its encoder got.
        if language_ids is not None and "decoder_input_ids" not in kwargs:
            raise ValueError(
                "`generate` reads each row's experts from its prompt, not from `language_ids`. Pass `language`, a code "
                "or a list with a code for each row."
            )
        # One call may decode many windows, and some again. All of them use the experts of its beginning.
        if "decoder_input_ids" not in kwargs:
            args, kwargs = self._with_names(args, kwargs)
        with keep_experts(self), self.detecting(candidate_languages, detection):
            return super().generate(*args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: tuple[torch.Tensor] | None = None,
        *,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        language_ids: torch.Tensor | None = None,
        decoder_language_ids: torch.Tensor | None = None,
        output_gates: bool = False,
        gate_noise: float = 0.0,
        **kwargs,
    ) -> Seq2SeqLMOutput | DistilWhisperOutput:
        """Whisper's forward with routing. Other arguments are Whisper's; `generate` passes them by name.

        Args:
            input_features: log-mel features `(batch, mel bins, frames)`.
            labels: `(batch, tokens)`, `[<|gl|>, <|transcribe|>, <|notimestamps|>, text..., <|endoftext|>]`, padded with
                -100. The start token is put in front here.
            language_ids: `(batch,)`, ids of language tokens, -1 for the shared path. Default: as the prompt says.
            decoder_language_ids: the same for the decoder alone. Default: `language_ids`, but -1 for translation.
            output_gates: return a `DistilWhisperOutput` with every layer's gates.
            gate_noise: alpha(t), the scale of the noise in soft training gates (eq. 4.2).

        Raises:
            ValueError: labels that begin with the start token, or, in training, name no language that has an expert;
                a filled cache without both language ids; ids that are not one per row.
        """
        with keep_experts(self):
            if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self._prompt_of(labels, check_experts=self.training and language_ids is None)
            language_ids, decoder_language_ids = self._complete_language_ids(
                decoder_input_ids, cache_in(kwargs), language_ids, decoder_language_ids
            )
            records = GateRecords() if output_gates else None
            outputs = super().forward(
                input_features,
                attention_mask=attention_mask,
                decoder_input_ids=decoder_input_ids,
                decoder_attention_mask=decoder_attention_mask,
                encoder_outputs=encoder_outputs,
                decoder_inputs_embeds=decoder_inputs_embeds,
                decoder_position_ids=decoder_position_ids,
                labels=self.without_own_tokens(labels),
                use_cache=use_cache,
                language_ids=language_ids,
                decoder_language_ids=decoder_language_ids,
                gate_noise=gate_noise,
                gate_records=records,
                return_dict=True,
                **kwargs,
            )
        if records is None:
            return outputs
        encoder_gates, encoder_gate_logits = records.encoder.in_order()
        decoder_gates, decoder_gate_logits = records.decoder.in_order()
        return DistilWhisperOutput(
            **outputs,
            encoder_gates=encoder_gates,
            decoder_gates=decoder_gates,
            encoder_gate_logits=encoder_gate_logits,
            decoder_gate_logits=decoder_gate_logits,
            language_ids=language_ids,
            decoder_language_ids=language_ids if decoder_language_ids is None else decoder_language_ids,
        )

    def without_own_tokens(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Labels `(batch, tokens)` for a loss: a language token that the output layer has no score for becomes -100."""
        return labels if labels is None else labels.masked_fill(labels >= self.config.vocab_size, -100)

    def _prompt_of(self, labels: torch.Tensor, check_experts: bool) -> torch.Tensor:
        """The decoder's input for `labels`, `(batch, tokens)`: shifted right, with the start token in front."""
        config: Any = self.config
        start = config.decoder_start_token_id
        compiling = torch.compiler.is_compiling()  # values are unknown
        if not compiling and (labels[:, 0] == start).any():
            raise ValueError(
                f"The labels begin with the start token ({start}), which is put in front of them here: the model would "
                "learn to see it twice. Expected [language, task, <|notimestamps|>, text..., end]."
            )
        decoder_input_ids = shift_tokens_right(labels, config.pad_token_id, start)
        if check_experts and not compiling:
            self.require_experts(decoder_input_ids)
        return decoder_input_ids


__all__ = ["DistilWhisperConfig", "DistilWhisperForConditionalGeneration", "DistilWhisperModel", "DistilWhisperOutput"]
