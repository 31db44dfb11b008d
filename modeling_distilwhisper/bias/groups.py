"""Groups of utterances: by gender, age and accent of the speaker, by resource class, by model, by language."""

from collections.abc import Iterable, Sequence

from transformers import WhisperConfig

from ..evaluation.languages import RESOURCE_CLASSES

# Below either, a cell is shown but says nothing: no test, no verdict. With 50 utterances the interval of a share is
# up to 14 points to either side; with fewer than 10 speakers or sentences it would be of these and not of people.
MIN_GROUP_UTTERANCES = 50
MIN_UNITS = 10

GROUPINGS = ("gender", "age", "accent", "language", "resource", "model")
_ORDER = (
    *("female", "male"),
    *("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties"),
    *RESOURCE_CLASSES,
)
_SIZES = {(384, 4): "tiny", (512, 6): "base", (768, 12): "small", (1024, 24): "medium", (1280, 32): "large"}


def model_shape(config: WhisperConfig) -> list[int]:
    """What orders models by size: width and layers of encoder and decoder."""
    return [config.d_model, config.encoder_layers, config.decoder_layers]


def size_name(shape: Sequence[int]) -> str:
    """Whisper's own name of a size; a decoder of fewer layers than the encoder is told apart, as turbo's."""
    width, encoder, decoder = shape
    name = _SIZES.get((width, encoder), f"{width} wide, {encoder} layers")
    return name if encoder == decoder else f"{name}, {decoder} decoder layers"


def in_order(groups: Iterable[str]) -> list[str]:
    """Groups as a reader expects them: ages rising, resources falling, others by the alphabet."""
    return sorted(set(groups), key=lambda group: (_ORDER.index(group) if group in _ORDER else len(_ORDER), group))


def is_too_small(utterances: int, units: int) -> bool:
    return utterances < MIN_GROUP_UTTERANCES or units < MIN_UNITS
