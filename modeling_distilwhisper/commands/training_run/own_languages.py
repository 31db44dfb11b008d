"""Languages that Whisper has no token for, in a training run: what the embedding of their own token starts as."""

import torch
from datasets import Dataset
from transformers import WhisperProcessor

from ...data.features import speech_features
from ...data.samples import samples_of_row
from ...language_names_distilwhisper import nearest_language
from ...languages_distilwhisper import known_languages
from ...runs.any_whisper import expert_languages
from ...runs.starts import DETECTED
from ..command_line import say
from .arguments import ModelArguments

HEARD_ROWS = 64  # of each language, from all over its training split
TOLD = 3  # languages that are named in the line for people
BATCH = 8


def start_as_detected(model, processor: WhisperProcessor, rows: Dataset, model_args: ModelArguments) -> None:
    """Starts the embeddings of own tokens as the mean of the languages that Whisper hears in their training audio.

    These are languages for which `--init_from` says so, and those that it does not name and whose tag names no language
    of Whisper's either. Others, and experts that the student has already or that come from elsewhere, stay as they are.

    Args:
        model: a `DistilWhisperForConditionalGeneration`.
        processor: the model's.
        rows: of the training split, of all languages.
        model_args: the settings.
    """
    whisper, there = whisper_languages(model), expert_languages(model_args.student)
    for language in model.config.own_tokens.values():
        if language not in model_args.languages or language in there or model_args.experts_from:
            continue
        start = model_args.starts.get(language, DETECTED if nearest_language(language, whisper) is None else None)
        if start != DETECTED:
            continue
        places = [place for place, name in enumerate(rows["language"]) if name == language]
        heard = mean_probabilities(model, processor, rows.select(places[:: max(1, len(places) // HEARD_ROWS)]))
        model.start_embedding(language, heard)
        told = ", ".join(f"{name} {share:.2f}" for name, share in [*heard.items()][:TOLD])
        say(f"{language}: its token starts as the mean of what Whisper hears in its recordings: {told}, ...")


def start_until_data(model, language: str) -> dict[str, float] | None:
    """The start of a token until the training audio is read (`start_as_detected`): all languages alike.

    `None` where the tag or Whisper itself says what it starts as.
    """
    whisper = whisper_languages(model)
    return None if nearest_language(language, whisper) is not None else dict.fromkeys(whisper, 1.0)


def whisper_languages(model) -> set[str]:
    """The languages that Whisper has a token for."""
    return {name for name, token in known_languages(model).items() if token < model.config.vocab_size}


def mean_probabilities(model, processor: WhisperProcessor, rows: Dataset) -> dict[str, float]:
    """The mean probability of each of Whisper's languages in some recordings, the highest first."""
    total: dict[str, float] = {}
    for first in range(0, len(rows), BATCH):
        batch = rows.select(range(first, min(first + BATCH, len(rows))))
        features = speech_features(processor, [samples_of_row(row["audio"]) for row in batch])
        with torch.inference_mode():
            found = model.language_probabilities(features.input_features.to(model.device, model.dtype))
        for row in found:
            for name, probability in row.items():
                total[name] = total.get(name, 0.0) + probability / len(rows)
    return dict(sorted(total.items(), key=lambda item: -item[1]))


__all__ = ["mean_probabilities", "start_as_detected", "start_until_data"]
