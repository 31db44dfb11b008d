"""Detects languages in a replica, whose experts come and go: trained detection rows of all of them stay in memory."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.utils import logging

from ..expert_file_distilwhisper import check_shapes, opened_expert_file
from ..languages_distilwhisper import known_languages, without_own_tokens
from ..numbers_distilwhisper import check_numbers
from ..runs.detection import TRAINED, detected_languages
from ..transcription.detection import choice_among
from .experts import ExpertStore

logger = logging.get_logger(__name__)
Row = tuple[torch.Tensor, torch.Tensor]  # weight `(d_model,)` and bias `(1,)`


class LanguageDetector:
    """The language of windows, as the model gives it with all experts loaded.

    Args:
        model: of a replica.
        experts: of the replica. With trained detection, the files of all of them are read, and downloaded before.
        candidate_languages: as for `detection_choice`.
        detection: "whisper" or "trained".

    Raises:
        ValueError: a candidate cannot be detected, or there are no trained rows.
    """

    def __init__(self, model, experts: ExpertStore, candidate_languages: Sequence[str] | None, detection: str):
        self.model = model
        self.rows = _trained_rows(model, experts) if detection == TRAINED else {}
        # Tokens of other languages than Whisper's are those of experts that are loaded just now.
        whisper = self.whisper = without_own_tokens(known_languages(model), model.config.vocab_size)
        self.choice = choice_among(
            candidate_languages, detection, "the model", whisper, [*experts.sources], [*self.rows]
        )

    def __call__(self, features: torch.Tensor) -> list[str]:
        """The language of each window, by its features `(batch, mel bins, frames)`."""
        if self.choice.detection != TRAINED:
            return detected_languages(self.model, features, *self.choice)
        states = self.model.detection_states(features)
        logits = self.model.get_output_embeddings()(states)[:, list(self.whisper.values())]
        columns = dict(zip(self.whisper, logits.unbind(dim=1), strict=True))
        columns |= {name: states @ weight + bias for name, (weight, bias) in self.rows.items()}
        names = [name for name in columns if self.choice.candidates is None or name in self.choice.candidates]
        best = torch.stack([columns[name] for name in names], dim=1).float().argmax(dim=-1)
        return [names[index] for index in best.tolist()]


def _trained_rows(model, experts: ExpertStore) -> dict[str, Row]:
    """The detection rows in the files of experts. A file that cannot be read has none: its language alone lacks it."""
    rows = {}
    for language in sorted(experts.sources):
        try:
            row = _trained_row(experts.fetch(language), language, model)
        except (OSError, ValueError) as error:
            logger.warning(f"{language!r} takes no part in trained detection until the server starts again: {error}")
            continue
        if row is not None:
            rows[language] = row
    return rows


def _trained_row(path: Path, language: str, model) -> Row | None:
    prefix = f"model.decoder.experts.{language}.detection_"
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}weight": (model.config.d_model,), f"{prefix}bias": (1,)}
    with opened_expert_file(str(path), language, model) as file:
        if not file.has_detection(language):
            return None
        check_shapes(str(path), {name: shape for name, shape in file.shapes.items() if name in shapes}, shapes)
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name).to(model.device, model.dtype) for name in shapes}
    check_numbers(str(path), tensors)
    weight, bias = tensors.values()
    return weight, bias
