"""Whisper's encoder and decoder, whose layers have a routed feed-forward."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.models.whisper.modeling_whisper import (
    WhisperDecoder,
    WhisperDecoderLayer,
    WhisperEncoder,
    WhisperEncoderLayer,
)

from .calls_distilwhisper import ExpertsOfCall, call_state, experts_now
from .configuration_distilwhisper import DistilWhisperConfig
from .expert_layers_distilwhisper import LanguageGate
from .gate_record_distilwhisper import GateRecord, GateRecords
from .language_modules_distilwhisper import LanguageParts
from .own_tokens_distilwhisper import put_own_embeddings
from .routing_distilwhisper import RoutedFeedForward, Routing

LAYERS = ["DistilWhisperEncoderLayer", "DistilWhisperDecoderLayer"]  # a device map must not split them


class DistilWhisperEncoderLayer(RoutedFeedForward, WhisperEncoderLayer):
    """Whisper's encoder layer. With a `routing`, its feed-forward is the routed one."""

    def __init__(self, config: DistilWhisperConfig, layer_idx: int):
        super().__init__(config)
        self.init_experts(config, config.encoder_ffn_dim, layer_idx)
        if not config.encoder_experts:
            self.experts = nn.ModuleDict()

    def forward(self, hidden_states, attention_mask, routing: Routing | None = None, **kwargs) -> torch.Tensor:
        """`(batch, frames, d_model)` to the same shape. Other arguments are Whisper's."""
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
    """Whisper's decoder layer. With a `routing`, its feed-forward is the routed one."""

    def __init__(self, config: DistilWhisperConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.init_experts(config, config.decoder_ffn_dim, layer_idx)
        if not config.decoder_experts:
            self.experts = nn.ModuleDict()

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        use_cache=True,
        routing: Routing | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """`(batch, tokens, d_model)` to the same shape. Other arguments, the cache among them, are Whisper's."""
        if routing is None:
            return super().forward(
                hidden_states,
                attention_mask,
                encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask,
                use_cache=use_cache,
                **kwargs,
            )

        residual = hidden_states
        hidden_states = self.self_attn_layer_norm(hidden_states)
        hidden_states, _ = self.self_attn(hidden_states, attention_mask=attention_mask, **kwargs)
        hidden_states = residual + nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)

        if encoder_hidden_states is not None:
            residual = hidden_states
            hidden_states = self.encoder_attn_layer_norm(hidden_states)
            hidden_states, _ = self.encoder_attn(
                hidden_states,
                key_value_states=encoder_hidden_states,
                attention_mask=encoder_attention_mask,
                **kwargs,
            )
            hidden_states = residual + nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)

        return hidden_states + self.feed_forward(self.final_layer_norm(hidden_states), routing)


class BuiltOnWhisper(PreTrainedModel):
    """Builds a model as Whisper does, and then replaces the parts that route.

    Needs from its class: a class of Whisper after this one in the method resolution order, and `_replace_parts`.
    """

    def __init__(self, config: DistilWhisperConfig):
        # Old checkpoints have this setting. Whisper would spend it on the parts that are replaced.
        checkpointing = config.__dict__.pop("gradient_checkpointing", False)
        super().__init__(config)
        self._replace_parts(config)
        self.post_init()
        if checkpointing:
            # Its name before Transformers 5.23 is the other.
            (getattr(self, "activation_checkpointing_enable", None) or self.gradient_checkpointing_enable)()

    def _replace_parts(self, config: DistilWhisperConfig) -> None:
        """Puts routed parts in the place of Whisper's."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LanguageGate):  # a buffer that was made on the meta device has no value yet
            init.constant_(module.threshold, module.threshold_at_start)


class DistilWhisperEncoder(BuiltOnWhisper, WhisperEncoder):
    """Whisper's encoder, whose layers route tokens."""

    _no_split_modules = LAYERS

    def _replace_parts(self, config: DistilWhisperConfig) -> None:
        self.layers = nn.ModuleList([DistilWhisperEncoderLayer(config, i) for i in range(config.encoder_layers)])

    @property
    def has_experts(self) -> bool:
        """Whether languages have experts here."""
        return self.config.encoder_experts

    def own_embeddings(self, by_token: Mapping[int, str]) -> dict[int, torch.Tensor]:
        """An encoder reads no tokens."""
        return {}

    def forward(
        self,
        input_features,
        attention_mask=None,
        language_ids: torch.Tensor | None = None,
        decoder_language_ids: torch.Tensor | None = None,
        gate_noise: float = 0.0,
        gate_records: GateRecords | None = None,
        **kwargs,
    ):
        """Routes each row's tokens by `language_ids`, `(batch,)`, -1 for no expert. Other arguments are Whisper's."""
        record = None if gate_records is None else gate_records.encoder
        routing = None
        if self.config.encoder_experts:
            routing = _routing(self, language_ids, input_features, gate_noise, record)
        return super().forward(input_features, attention_mask, routing=routing, **kwargs)


class DistilWhisperDecoder(BuiltOnWhisper, WhisperDecoder):
    """Whisper's decoder, whose layers route tokens."""

    _no_split_modules = LAYERS

    def _replace_parts(self, config: DistilWhisperConfig) -> None:
        self.layers = nn.ModuleList([DistilWhisperDecoderLayer(config, i) for i in range(config.decoder_layers)])
        self.experts = nn.ModuleDict()  # of some languages, the parts that belong to no layer
        token_ids, detected = config.language_token_ids or {}, config.detection_languages or []
        for language in config.languages or []:
            has_embedding = token_ids.get(language, 0) >= config.vocab_size
            if has_embedding or language in detected:
                self.experts[language] = LanguageParts(
                    config.d_model, embedding=has_embedding, detection=language in detected
                )

    def set_experts(self, experts: Mapping[str, nn.Module]) -> None:
        """Replaces the parts of languages at once, as `RoutedFeedForward.set_experts` does with experts."""
        self.experts = nn.ModuleDict(dict(experts))

    @property
    def has_experts(self) -> bool:
        """Whether languages have experts here."""
        return self.config.decoder_experts

    def own_embeddings(self, by_token: Mapping[int, str]) -> dict[int, torch.Tensor]:
        """Token id -> embedding `(d_model,)`, of those of these tokens that are not in the vocabulary."""
        parts: Any = self.experts
        own = {token: code for token, code in by_token.items() if token >= self.config.vocab_size}
        return {token: parts[code].embedding for token, code in own.items()}

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        language_ids: torch.Tensor | None = None,
        decoder_language_ids: torch.Tensor | None = None,
        gate_noise: float = 0.0,
        gate_records: GateRecords | None = None,
        **kwargs,
    ):
        """Routes by `decoder_language_ids`, or by `language_ids` if those are not given. Others are Whisper's.

        The embedding of a language's own token is that of `language_ids`, in the place of a second start token.
        """
        if input_ids is not None and input_ids.shape[-1] > 1 and language_ids is not None:
            experts = _experts(self)
            if experts.embeddings:
                start = self.config.decoder_start_token_id
                embeds = self.embed_tokens(input_ids)
                embeds = put_own_embeddings(embeds, input_ids, language_ids, experts.embeddings, start)
                input_ids, kwargs["inputs_embeds"] = None, embeds
        ids = language_ids if decoder_language_ids is None else decoder_language_ids
        record = None if gate_records is None else gate_records.decoder
        inputs = input_ids if input_ids is not None else kwargs.get("inputs_embeds")
        routing = None
        if self.config.decoder_experts:
            routing = _routing(self, ids, inputs, gate_noise, record)
        return super().forward(input_ids, attention_mask, routing=routing, **kwargs)


def _routing(side, language_ids, inputs, noise: float, record: GateRecord | None) -> Routing | None:
    """The routing of a pass of an encoder or decoder over `inputs`, whose first dimension is the batch."""
    if language_ids is None:
        return None
    experts = _experts(side)
    if not experts.by_token:
        return None
    if language_ids.shape != inputs.shape[:1]:
        raise ValueError(
            f"Expected one language id per row, of shape ({inputs.shape[0]},), got {tuple(language_ids.shape)}."
        )
    return Routing.from_ids(language_ids, experts.by_token, noise=noise, record=record, experts=experts.by_layer)


def _experts(side) -> ExpertsOfCall:
    """The experts that this call uses in an encoder or decoder."""
    if torch.compiler.is_compiling():  # what a graph refers to is fixed: the layers' own experts
        by_token = side.config.experts_by_token
        return ExpertsOfCall(by_token, None, side.own_embeddings(by_token))
    return call_state().experts.get(side) or experts_now(side.config, [side])[side]


__all__ = ["LAYERS", "BuiltOnWhisper", "DistilWhisperDecoder", "DistilWhisperEncoder"]
