"""Groups of utterances: by gender, age and accent of the speaker, by resource class, by model, by language."""

from collections.abc import Iterable, Mapping, Sequence

from transformers import WhisperConfig

from ..evaluation.languages import RESOURCE_CLASSES

# A cell below either bound is shown, but not tested and not judged. With 50 utterances the interval of a share is up to
# 14 points wide on each side; a result of fewer than 10 speakers or sentences says little about others.
MIN_GROUP_UTTERANCES = 50
MIN_UNITS = 10

# Two models are of one size if the larger has less than this times the parameters of the smaller. Whisper's own sizes
# are twofold steps; a finding about size must not rest on a few per cent.
SAME_SIZE = 1.05

GROUPINGS = ("gender", "age", "accent", "language", "resource", "model")
_ORDER = (
    *("female", "male"),
    *("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties"),
    *RESOURCE_CLASSES,
)
_SIZES = {(384, 4): "tiny", (512, 6): "base", (768, 12): "small", (1024, 24): "medium", (1280, 32): "large"}


def model_shape(config: WhisperConfig) -> list[int]:
    """Width, encoder layers and decoder layers of a model: what its size is computed from."""
    return [config.d_model, config.encoder_layers, config.decoder_layers]


def parameters_of(shape: Sequence[int]) -> int:
    """About how many parameters a Whisper of a shape has: those of its layers and of Whisper's vocabulary."""
    width, encoder, decoder = shape
    return width * (width * (12 * encoder + 16 * decoder) + 51_865)


def tiers(sizes: Mapping[str, int]) -> list[list[str]]:
    """Models in groups of one size, the smallest first. Only models of different groups are smaller or larger.

    Args:
        sizes: parameters by model.

    Example:
        >>> tiers({"base": 71_000_000, "tiny": 36_000_000, "base.en": 71_000_000})
        [['tiny'], ['base', 'base.en']]
    """
    groups: list[list[str]] = []
    for model in sorted(sizes, key=lambda model: (sizes[model], model)):
        if groups and sizes[model] < SAME_SIZE * sizes[groups[-1][0]]:
            groups[-1].append(model)
        else:
            groups.append([model])
    return groups


def size_name(shape: Sequence[int]) -> str:
    """Whisper's name of a size. It adds the number of decoder layers if the encoder has another, such as in turbo."""
    width, encoder, decoder = shape
    name = _SIZES.get((width, encoder), f"{width} wide, {encoder} layers")
    return name if encoder == decoder else f"{name}, {decoder} decoder layers"


def in_order(groups: Iterable[str]) -> list[str]:
    """Groups in the order that readers expect: rising ages, falling resources, others by the alphabet."""
    return sorted(set(groups), key=lambda group: (_ORDER.index(group) if group in _ORDER else len(_ORDER), group))


def is_too_small(utterances: int, units: int) -> bool:
    """Whether a cell has too few utterances or units to be tested."""
    return utterances < MIN_GROUP_UTTERANCES or units < MIN_UNITS
