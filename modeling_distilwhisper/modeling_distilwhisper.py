"""Multilingual DistilWhisper: a Whisper whose layers route each token to its language's expert or to the shared path.

Only the difference from Whisper stands here. A batch without experts runs Whisper's own code, layer by layer.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Cache, WhisperForConditionalGeneration
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.models.whisper.modeling_whisper import (
    WhisperDecoder,
    WhisperDecoderLayer,
    WhisperEncoder,
    WhisperEncoderLayer,
    WhisperModel,
    shift_tokens_right,
)
from transformers.utils import can_return_tuple

from .configuration_distilwhisper import DistilWhisperConfig
from .experts_distilwhisper import LanguageExpertsMixin
from .generation_distilwhisper import LanguageRoutedGenerationMixin
from .hub_distilwhisper import PushExpertsMixin
from .routing_distilwhisper import RoutedFeedForward, Routing

LAYERS = ["DistilWhisperEncoderLayer", "DistilWhisperDecoderLayer"]  # what a device map keeps in one piece


@dataclass
class DistilWhisperOutput(Seq2SeqLMOutput):
    """Whisper's output and, with `output_gates=True`, how each layer gated each token (eq. 4.2 to 4.5).

    Args:
        encoder_gates (`tuple` of `(batch, frames)`, a tensor a layer):
            1 where the expert ran, 0 where the shared path ran or the row has no expert. In training the values that
            the budget counts: before skipping, differentiable.
        decoder_gates (`tuple` of `(batch, tokens)`): the same for the decoder.
        encoder_gate_logits (`tuple` of `(batch, frames)`): `G(z)` of eq. 4.3, minus infinity in rows without an expert.
        decoder_gate_logits (`tuple` of `(batch, tokens)`): the same for the decoder.
        language_ids (`(batch,)`): id of each row's language token as the encoder used it, -1 without an expert.
        decoder_language_ids (`(batch,)`): the same for the decoder: -1 also where the task is translation.
    """

    encoder_gates: tuple[torch.Tensor, ...] | None = None
    decoder_gates: tuple[torch.Tensor, ...] | None = None
    encoder_gate_logits: tuple[torch.Tensor, ...] | None = None
    decoder_gate_logits: tuple[torch.Tensor, ...] | None = None
    language_ids: torch.Tensor | None = None
    decoder_language_ids: torch.Tensor | None = None


class DistilWhisperEncoderLayer(RoutedFeedForward, WhisperEncoderLayer):
    def __init__(self, config: DistilWhisperConfig, layer_idx: int):
        super().__init__(config)
        self.init_experts(config, config.encoder_ffn_dim, layer_idx)

    def forward(self, hidden_states, attention_mask, routing: Routing | None = None, **kwargs) -> torch.Tensor:
        if routing is None:
            return super().forward(hidden_states, attention_mask, **kwargs)

        residual = hidden_states
        hidden_states = self.self_attn_layer_norm(hidden_states)
        hidden_states, _ = self.self_attn(hidden_states=hidden_states, attention_mask=attention_mask, **kwargs)
        hidden_states = residual + nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)

        hidden_states = hidden_states + self.feed_forward(self.final_layer_norm(hidden_states), routing)
        if hidden_states.dtype == torch.float16:  # as Whisper does: large activations overflow half precision
            clamp_value = torch.finfo(hidden_states.dtype).max - 1000
            hidden_states = torch.clamp(hidden_states, min=-clamp_value, max=clamp_value)
        return hidden_states


class DistilWhisperDecoderLayer(RoutedFeedForward, WhisperDecoderLayer):
    def __init__(self, config: DistilWhisperConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.init_experts(config, config.decoder_ffn_dim, layer_idx)

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_values=None,
        use_cache=True,
        routing: Routing | None = None,
        **kwargs,
    ) -> torch.Tensor:
        if routing is None:
            return super().forward(
                hidden_states,
                attention_mask,
                encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )

        residual = hidden_states
        hidden_states = self.self_attn_layer_norm(hidden_states)
        hidden_states, _ = self.self_attn(
            hidden_states, past_key_values=past_key_values, attention_mask=attention_mask, **kwargs
        )
        hidden_states = residual + nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)

        if encoder_hidden_states is not None:
            residual = hidden_states
            hidden_states = self.encoder_attn_layer_norm(hidden_states)
            hidden_states, _ = self.encoder_attn(
                hidden_states,
                key_value_states=encoder_hidden_states,
                attention_mask=encoder_attention_mask,
                past_key_values=past_key_values,
                **kwargs,
            )
            hidden_states = residual + nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)

        return hidden_states + self.feed_forward(self.final_layer_norm(hidden_states), routing)


def _routing(config, language_ids, inputs, noise: float, record: dict | None) -> Routing | None:
    """The routing of a pass over `inputs`, whose first dimension is the batch."""
    if language_ids is None or not config.languages:
        return None
    if language_ids.shape != inputs.shape[:1]:
        raise ValueError(
            f"Expected one language id a row, a tensor of shape ({inputs.shape[0]},), got {tuple(language_ids.shape)}."
        )
    return Routing.of(language_ids, config.experts_by_token, noise=noise, record=record)


class DistilWhisperEncoder(WhisperEncoder):
    _no_split_modules = LAYERS

    def __init__(self, config: DistilWhisperConfig):
        super().__init__(config)
        self.layers = nn.ModuleList([DistilWhisperEncoderLayer(config, i) for i in range(config.encoder_layers)])
        self.post_init()

    def forward(
        self,
        input_features,
        attention_mask=None,
        language_ids: torch.Tensor | None = None,
        decoder_language_ids: torch.Tensor | None = None,
        gate_noise: float = 0.0,
        gate_records: tuple[dict, dict] | None = None,
        **kwargs,
    ):
        """Whisper's encoder, with each row's tokens routed by `language_ids`, `(batch,)`, -1 for no expert."""
        record = None if gate_records is None else gate_records[0]
        routing = _routing(self.config, language_ids, input_features, gate_noise, record)
        return super().forward(input_features, attention_mask, routing=routing, **kwargs)


class DistilWhisperDecoder(WhisperDecoder):
    _no_split_modules = LAYERS

    def __init__(self, config: DistilWhisperConfig):
        super().__init__(config)
        self.layers = nn.ModuleList([DistilWhisperDecoderLayer(config, i) for i in range(config.decoder_layers)])
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        language_ids: torch.Tensor | None = None,
        decoder_language_ids: torch.Tensor | None = None,
        gate_noise: float = 0.0,
        gate_records: tuple[dict, dict] | None = None,
        **kwargs,
    ):
        """Whisper's decoder, routed by `decoder_language_ids`, or by `language_ids` where that is not given."""
        ids = language_ids if decoder_language_ids is None else decoder_language_ids
        record = None if gate_records is None else gate_records[1]
        inputs = input_ids if input_ids is not None else kwargs.get("inputs_embeds")
        routing = _routing(self.config, ids, inputs, gate_noise, record)
        return super().forward(input_ids, attention_mask, routing=routing, **kwargs)


class DistilWhisperModel(WhisperModel):
    _no_split_modules = LAYERS
    config_class = DistilWhisperConfig

    def __init__(self, config: DistilWhisperConfig):
        super().__init__(config)
        self.encoder = DistilWhisperEncoder(config)
        self.decoder = DistilWhisperDecoder(config)
        self.post_init()


class DistilWhisperForConditionalGeneration(
    LanguageExpertsMixin, PushExpertsMixin, WhisperForConditionalGeneration, LanguageRoutedGenerationMixin
):
    """Whisper with gated language experts (Multilingual DistilWhisper, section 4).

    Made from a plain Whisper by `from_whisper`, loaded by `from_pretrained(..., languages=[...])`. It is used as
    Whisper is: each row's experts are chosen by the language token in its prompt, so batches may mix languages.
    """

    config_class = DistilWhisperConfig
    config: DistilWhisperConfig
    _no_split_modules = LAYERS

    def __init__(self, config: DistilWhisperConfig):
        super().__init__(config)
        # The speech pipeline and `generate` ask this string whether they deal with a Whisper. What is saved is the
        # class's own type, "distilwhisper".
        self.config.model_type = "whisper"
        self.model = DistilWhisperModel(config)
        self.post_init()

    def generate(self, *args, language_ids: torch.Tensor | None = None, **kwargs):
        """Whisper's `generate`. Each row takes the experts of its `language`, given, or detected by Whisper itself.

        Raises:
            ValueError: `language_ids` are given: the prompt decides, and it is made from `language`.
        """
        # An assistant is called with the prompt made already, and with the ids that its encoder was given.
        if language_ids is not None and "decoder_input_ids" not in kwargs:
            raise ValueError(
                "`generate` reads each row's experts from its prompt, not from `language_ids`. Pass `language`, a code "
                "or a list with a code for each row."
            )
        return super().generate(*args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: tuple[torch.Tensor] | None = None,
        past_key_values: Cache | None = None,
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
        """Whisper's forward, with what routing adds. Other arguments are Whisper's; `generate` asks for them by name.

        Args:
            input_features: log-mel features `(batch, mel bins, frames)`.
            labels: `(batch, tokens)`, `[<|gl|>, <|transcribe|>, <|notimestamps|>, text..., <|endoftext|>]`, padded with
                -100. The start token is put in front here.
            language_ids: `(batch,)`, ids of language tokens, -1 for the shared path. Default: as the prompt says.
            decoder_language_ids: the same for the decoder alone. Default: `language_ids`, shared where it translates.
            output_gates: return a `DistilWhisperOutput` with every layer's gates.
            gate_noise: alpha(t), the scale of the noise in soft training gates (eq. 4.2).

        Raises:
            ValueError: labels that begin with the start token, or, in training, name no language that has an expert;
                a filled cache without both language ids; ids that are not one a row.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            start = self.config.decoder_start_token_id
            if not torch.compiler.is_compiling() and (labels[:, 0] == start).any():
                raise ValueError(
                    f"The labels begin with the start token ({start}), which is put in front of them here: the model "
                    "would learn to see it twice. Expected [language, task, <|notimestamps|>, text..., end]."
                )
            decoder_input_ids = shift_tokens_right(labels, self.config.pad_token_id, start)
            if self.training and language_ids is None and not torch.compiler.is_compiling():
                self.require_experts(decoder_input_ids)
        if decoder_input_ids is not None and self.config.languages:
            if past_key_values is not None and past_key_values.get_seq_length() > 0:
                if language_ids is None or decoder_language_ids is None:
                    raise ValueError(
                        "The cache holds the prompt that names language and task, so pass `language_ids` and "
                        "`decoder_language_ids` with it, as `read_prompt` gives them. (`generate` does so.)"
                    )
            else:
                from_prompt, _ = self.read_prompt(decoder_input_ids)
                language_ids = from_prompt if language_ids is None else language_ids
                if decoder_language_ids is None:
                    translates = self.translates(decoder_input_ids).to(language_ids.device)
                    decoder_language_ids = language_ids.masked_fill(translates, -1)

        records = ({}, {}) if output_gates else None
        outputs = super().forward(
            input_features,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            decoder_inputs_embeds=decoder_inputs_embeds,
            decoder_position_ids=decoder_position_ids,
            labels=labels,
            use_cache=use_cache,
            language_ids=language_ids,
            decoder_language_ids=decoder_language_ids,
            gate_noise=gate_noise,
            gate_records=records,
            return_dict=True,
            **kwargs,
        )
        if not output_gates:
            return outputs
        encoder, decoder = ([layers[i] for i in sorted(layers)] for layers in records)
        return DistilWhisperOutput(
            **outputs,
            encoder_gates=tuple(gates for gates, _ in encoder),
            decoder_gates=tuple(gates for gates, _ in decoder),
            encoder_gate_logits=tuple(logits for _, logits in encoder),
            decoder_gate_logits=tuple(logits for _, logits in decoder),
            language_ids=language_ids,
            decoder_language_ids=language_ids if decoder_language_ids is None else decoder_language_ids,
        )

    def require_experts(self, decoder_input_ids: torch.Tensor) -> None:
        """Raises ValueError where a row of `(batch, tokens)` names no language that has an expert to train."""
        nameless = self.read_prompt(decoder_input_ids)[0] < 0
        if nameless.any():
            row = int(nameless.nonzero()[0])
            raise ValueError(
                f"The labels of row {row} begin with token {int(decoder_input_ids[row, 1])}, so no expert would learn "
                f"from it. Expected the token of one of {self.config.language_token_ids} first, then task, "
                "<|notimestamps|>, text..., end; a language not among these needs `add_language` or `load_experts`."
            )


__all__ = ["DistilWhisperConfig", "DistilWhisperForConditionalGeneration", "DistilWhisperModel", "DistilWhisperOutput"]
