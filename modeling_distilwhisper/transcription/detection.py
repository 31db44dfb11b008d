"""Among which languages a user lets a model choose, and how: `--candidate_languages` and `--detection`."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from transformers.utils import logging

from ..languages_distilwhisper import known_languages, without_own_tokens
from ..runs.detection import TRAINED, WHISPER, check_detectable, check_trained, trained_languages
from ..runs.language_codes import as_own, language_code

logger = logging.get_logger(__name__)
EXPERTS = "experts"  # in the place of a language: all that have experts


class DetectionChoice(NamedTuple):
    """How the language of a recording is detected, as `detected_languages` takes it.

    Attributes:
        candidates: names of the languages to choose from; `None`: all.
        detection: "whisper" or "trained".
    """

    candidates: tuple[str, ...] | None = None
    detection: str = WHISPER

    @property
    def settings(self) -> dict:
        """What distinguishes it from Whisper's own detection, as JSON types; empty for that."""
        given = {"candidate_languages": self.candidates and [*self.candidates], "detection": self.detection}
        return {} if self == DetectionChoice() else given


def detection_choice(model, written: Sequence[str] | None, detection: str, name: str) -> DetectionChoice:
    """What a user asks for, checked.

    Args:
        model: a multilingual Whisper of any kind.
        written: languages as `language_code` takes them, or `EXPERTS`; `None`: all.
        detection: "whisper" or "trained".
        name: of the model, for messages.

    Raises:
        ValueError: a language that the model cannot detect, or no trained rows; the message says what to do.

    Example:
        >>> from modeling_distilwhisper import load_model
        >>> from modeling_distilwhisper.transcription.detection import detection_choice
        >>> model = load_model("examples/quickstart/student")
        >>> detection_choice(model, ["Catalan", "gl-ES"], "whisper", "student").candidates
        ('ca', 'gl')
    """
    whisper = without_own_tokens(known_languages(model), model.config.vocab_size)
    experts = list(getattr(model.config, "languages", None) or [])
    return choice_among(written, detection, name, whisper, experts, trained_languages(model))


def choice_among(
    written: Sequence[str] | None,
    detection: str,
    name: str,
    whisper: Collection[str],
    experts: Collection[str],
    trained: Collection[str],
) -> DetectionChoice:
    """As `detection_choice`, for a model of which only this is known.

    Args:
        whisper: the languages that Whisper has tokens for.
        experts: those with experts.
        trained: those with trained detection rows.
    """
    check_trained(name, list(trained), detection)
    if written is None:
        return DetectionChoice(None, detection)
    detectable = list(dict.fromkeys([*whisper, *(trained if detection == TRAINED else ())]))
    candidates: dict[str, None] = {}
    for one in written:
        if one != EXPERTS:
            own = one if one in detectable else as_own(one, {*detectable, *experts})
            candidates[own if own in detectable else str(language_code(own))] = None
            continue
        left_out = [language for language in experts if language not in detectable]
        if left_out:
            rows = "nor a trained row" if detection == TRAINED else "and trained rows are not asked for"
            logger.warning(f"{name}: {', '.join(left_out)} cannot be detected: there is no token of Whisper's, {rows}.")
        candidates |= {language: None for language in experts if language in detectable}
    if not candidates:
        raise ValueError(f"{name} has no experts of a language that can be detected, which {EXPERTS!r} stands for.")
    check_detectable(list(candidates), detectable, detection)
    return DetectionChoice(tuple(map(str, candidates)), detection)
