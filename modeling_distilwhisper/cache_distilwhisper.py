"""The decoder's cache of keys and values, as an argument: `cache` in Transformers 5.24, before it `past_key_values`."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from transformers import Cache
from transformers.models.whisper.modeling_whisper import WhisperDecoder

CACHE = "cache" if "cache" in signature(WhisperDecoder.forward).parameters else "past_key_values"


def cache_in(named: Mapping[str, Any]) -> Cache | None:
    """The cache among the named arguments of a call: newer versions take both names."""
    return named.get("cache", named.get("past_key_values"))


__all__ = ["CACHE", "cache_in"]
