"""Which language is spoken, by any Whisper: among all of its languages or some, by its own weights or trained rows."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from ..detection_distilwhisper import KINDS
from ..language_names_distilwhisper import language_token
from ..languages_distilwhisper import known_languages, without_own_tokens

WHISPER, TRAINED = KINDS
HOW_TO_TRAIN = "`distilwhisper fit-detection` trains them"


def detected_languages(
    model, features: torch.Tensor, candidates: Sequence[str] | None = None, detection: str = WHISPER
) -> list[str]:
    """The language of each row.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        features: log-mel features `(batch, mel bins, frames)` of one window, where the model is.
        candidates: names of the languages to choose from; `None`: all.
        detection: "whisper", its own; or "trained", where languages with a trained detection row have their logit from
            it.

    Raises:
        ValueError: a candidate that the model cannot detect; or no language has a trained row.

    Example:
        >>> import torch
        >>> from modeling_distilwhisper import load_model
        >>> from modeling_distilwhisper.runs.detection import detected_languages
        >>> model = load_model("examples/quickstart/student")
        >>> detected_languages(model, torch.zeros(1, 80, 300), ["ca"])
        ['ca']
    """
    settings: dict[str, Any] = {}
    check_candidates(model, candidates, detection)
    if candidates is not None or detection != WHISPER:
        if has_own_detection(model):
            settings = {"detection": detection, "candidate_languages": candidates and list(candidates)}
        elif candidates is not None:
            settings["generation_config"] = _with_languages(model, candidates)
    names = {token: name for name, token in known_languages(model).items()}
    tokens = model.detect_language(features, **settings)
    return [names[token] for token in tokens.tolist()]


def ranked_languages(model, encoder_outputs, detection: str = WHISPER) -> list[list[str]]:
    """All languages that a model can detect, the most probable first, of each row.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        encoder_outputs: of its encoder, for one window, without experts.
        detection: as for `detected_languages`.

    Raises:
        ValueError: no language has a trained row.
    """
    check_candidates(model, None, detection)
    if has_own_detection(model):
        return [[*row] for row in model.language_probabilities(encoder_outputs=encoder_outputs, detection=detection)]
    tokens = dict(sorted(known_languages(model).items(), key=lambda item: item[1]))
    logits = start_logits(model, encoder_outputs)[:, list(tokens.values())]
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    names = list(tokens)
    return [[names[index] for index in row] for row in order.tolist()]


def start_logits(model, encoder_outputs) -> torch.Tensor:
    """Logits `(batch, vocabulary)` in float32 after the start token alone: of the language, and of no speech.

    No expert takes part, since the prompt does not name a language yet.

    Args:
        model: a multilingual Whisper of any kind, in evaluation mode.
        encoder_outputs: of its encoder, for one window.
    """
    start_token = model.generation_config.decoder_start_token_id
    start = torch.full((len(encoder_outputs[0]), 1), start_token, device=model.device)
    with torch.no_grad():
        return model(encoder_outputs=encoder_outputs, decoder_input_ids=start, use_cache=False).logits[:, -1].float()


def no_speech_probabilities(model, logits: torch.Tensor) -> list[float]:
    """The probability of no speech in each row, from `start_logits`.

    Whisper's token for it is the one before that for no timestamps.
    """
    return logits.softmax(-1)[:, model.generation_config.no_timestamps_token_id - 1].tolist()


def detectable_languages(model, detection: str = WHISPER) -> list[str]:
    """Names of the languages that a model can detect: those with a token of Whisper's, and those with a trained row."""
    whisper = list(without_own_tokens(known_languages(model), model.config.vocab_size))
    return list(dict.fromkeys(whisper + (trained_languages(model) if detection == TRAINED else [])))


def trained_languages(model) -> list[str]:
    """Names of the languages that have a trained detection row."""
    return list(getattr(model.config, "detection_languages", None) or [])


def check_candidates(model, candidates: Sequence[str] | None, detection: str) -> None:
    """Refuses languages among which a model cannot choose, and trained rows that it does not have.

    Raises:
        ValueError: the message says what to do.
    """
    if candidates is None and detection == WHISPER:
        return
    if detection not in KINDS:
        raise ValueError(f"The detection must be one of {', '.join(KINDS)}, got {detection!r}.")
    check_trained(model.name_or_path or "this Whisper", trained_languages(model), detection)
    if candidates is not None:
        check_detectable(candidates, detectable_languages(model, detection), detection)


def check_trained(name: str, trained: Sequence[str], detection: str) -> None:
    """Refuses trained detection of a model without trained rows.

    Raises:
        ValueError: it has none.
    """
    if detection == TRAINED and not trained:
        raise ValueError(
            f"{name} has no trained detection rows. Expected a model with some ({HOW_TO_TRAIN}), or the detection "
            f"{WHISPER!r}."
        )


def check_detectable(candidates: Sequence[str], detectable: Sequence[str], detection: str) -> None:
    """Refuses candidates that are not detectable.

    Raises:
        ValueError: there are some, or no candidate at all.
    """
    if not candidates:
        raise ValueError("Expected at least one candidate language, got none.")
    if unknown := [name for name in candidates if name not in detectable]:
        advice = f' (detection "{TRAINED}"; {HOW_TO_TRAIN})' if detection == WHISPER else f" ({HOW_TO_TRAIN})"
        raise ValueError(
            f"{', '.join(unknown)} cannot be detected. Expected some of {', '.join(sorted(detectable))}. A language "
            f"that Whisper has no token for needs a trained row{advice}."
        )


def has_own_detection(model) -> bool:
    """Whether it is a DistilWhisper, with or without experts, which takes candidates itself."""
    return hasattr(model, "language_probabilities")


def _with_languages(model, names: Sequence[str]):
    """The generation config of a plain Whisper that knows these languages alone. A copy: threads share the model's."""
    config, tokens = copy.copy(model.generation_config), known_languages(model)
    config.lang_to_id = {language_token(name): tokens[name] for name in names}
    return config
