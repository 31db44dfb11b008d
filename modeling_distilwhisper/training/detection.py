"""Trained detection rows: languages that are told apart by Whisper's own detection state.

Whisper detects a language by the logits of its language tokens after the start token alone. A detection row replaces
the logit of one language by `weight . state + bias`, fitted on recordings of this language and of others: so a language
that Whisper has no token for can be detected, and one that it detects badly is found.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from transformers import WhisperProcessor

from ..data.features import speech_features
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the pull towards the row that Whisper has, to choose from
STEPS = 200
FOLDS = 5  # one of which is for validation, if there are no other recordings


@torch.inference_mode()
def detection_states(
    model: DistilWhisperForConditionalGeneration,
    processor: WhisperProcessor,
    clips: Iterable[Any],
    batch_size: int = 8,
    progress: Callable[[int], Any] = lambda count: None,
) -> torch.Tensor:
    """Whisper's detection state of each recording, `(recordings, d_model)`, float32.

    Args:
        model: the model.
        processor: the model's.
        clips: samples at 16 kHz of each recording; its first window counts.
        batch_size: recordings at a time.
        progress: gets the number of recordings that are done, after each batch.

    Example:
        >>> import numpy as np
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, detection_states, load_processor
        >>> model = DistilWhisperForConditionalGeneration.from_whisper("examples/quickstart/student", ["ga"])
        >>> processor = load_processor("examples/quickstart/student")
        >>> states = detection_states(model, processor, [np.zeros(16_000, dtype=np.float32)])
        >>> tuple(states.shape) == (1, model.config.d_model)
        True
    """
    states: list[torch.Tensor] = []
    batch: list[Any] = []
    window = processor.feature_extractor.n_samples

    def finish() -> None:
        features = speech_features(processor, batch).input_features.to(model.device, model.dtype)
        states.append(model.detection_states(features).float().cpu())
        progress(len(batch))
        batch.clear()

    for clip in clips:
        batch.append(clip[:window])
        if len(batch) == batch_size:
            finish()
    if batch:
        finish()
    return torch.cat(states) if states else torch.empty(0, model.config.d_model)


def fit_detection(
    model: DistilWhisperForConditionalGeneration,
    train: Mapping[str, torch.Tensor],
    languages: list[str],
    validation: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, float]:
    """Fits a detection row for each of some languages, and puts it into the model.

    It is a logistic regression: of all of the model's languages, those of `languages` have a logit `weight . state +
    bias`, which is fitted; the others have Whisper's own, or that of a row which was fitted before. Each language of
    `train` counts the same, however many recordings it has. A row is pulled towards the one that Whisper has for the
    language or its relative; how strongly is chosen on `validation`.

    Args:
        model: has experts for each of `languages`.
        train: name of a language -> its recordings' states, `(recordings, d_model)` (`detection_states`): those of
            `languages`, and of others that they are to be told from.
        languages: names.
        validation: as `train`, of other recordings. Default: every fifth of `train`.

    Returns:
        `loss`, on `validation`, in nats; `loss_before`, with the rows as they started; and the `strength` of the pull.

    Raises:
        ValueError: a language has no recordings or no expert; there is nothing to tell it from; or a language has
            neither a token of Whisper's nor a row, fitted now or before.

    Example:
        >>> import torch
        >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration, fit_detection
        >>> model = DistilWhisperForConditionalGeneration.from_whisper("examples/quickstart/student", ["ga"])
        >>> states = {name: torch.randn(20, model.config.d_model) + place for place, name in enumerate(("ga", "ca"))}
        >>> fitted = fit_detection(model, states, ["ga"])
        >>> model.config.detection_languages, fitted["loss"] < fitted["loss_before"]
        (['ga'], True)
    """
    languages = [model.language_called(language) for language in languages]
    train = {model.language_called(name): states for name, states in train.items()}
    for language in languages:
        model.experts_of(language)
        if not len(train.get(language, ())):
            raise ValueError(f"There are no recordings of {language!r} to fit its detection row on.")
    problem, start = _Problem(model, languages), _starts(model, languages)
    if without := [name for name in train if name not in problem.names]:
        raise ValueError(
            f"{without} have neither a token of Whisper's nor a detection row, so nothing can be told from them. Fit "
            "rows for them too, or leave them out."
        )
    if len([name for name, states in train.items() if len(states)]) < 2:
        raise ValueError(f"There are recordings of {[*train]} alone. Expected some of a language to tell it from.")
    if validation is None:
        few = [name for name, states in train.items() if 0 < len(states) < FOLDS]
        if few:
            raise ValueError(f"Expected at least {FOLDS} recordings of each language, got fewer of {few}.")
        validation = {name: states[::FOLDS] for name, states in train.items()}
        train = {name: states[torch.arange(len(states)) % FOLDS != 0] for name, states in train.items()}
    validation = {model.language_called(name): states for name, states in validation.items()}
    if not any(name in problem.names and len(states) for name, states in validation.items()):
        raise ValueError("There are no recordings to choose by in `validation`.")
    before = problem.loss(start, validation)
    fits = {strength: problem.fit(start, train, strength) for strength in STRENGTHS}
    losses = {strength: problem.loss(rows, validation) for strength, rows in fits.items()}
    best = min(losses, key=lambda strength: losses[strength])
    for language, row in zip(languages, fits[best], strict=True):
        model.set_detection_row(language, row[:-1], float(row[-1]))
    return {"loss": losses[best], "loss_before": before, "strength": best}


class _Problem:
    """The regression: which logits are Whisper's, and which are fitted."""

    def __init__(self, model, languages: list[str]):
        columns = model.detection_columns()
        self.names = [*languages, *(name for name in columns if name not in languages)]
        rest = [columns[name] for name in self.names[len(languages) :]]
        self.fixed = torch.stack([torch.cat([weight, bias]) for weight, bias in rest]).double().cpu()

    def _log_probs(self, rows: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        all_rows = torch.cat([rows, self.fixed])
        return (states.double() @ all_rows[:, :-1].T + all_rows[:, -1]).log_softmax(dim=1)

    def _mean(self, rows: torch.Tensor, recordings: Mapping[str, torch.Tensor]) -> torch.Tensor:
        present = {name: states for name, states in recordings.items() if name in self.names and len(states)}
        parts = [-self._log_probs(rows, states)[:, self.names.index(name)].mean() for name, states in present.items()]
        return torch.stack(parts).mean()

    @torch.no_grad()
    def loss(self, rows: torch.Tensor, recordings: Mapping[str, torch.Tensor]) -> float:
        return float(self._mean(rows, recordings))

    def fit(self, start: torch.Tensor, recordings: Mapping[str, torch.Tensor], strength: float) -> torch.Tensor:
        """The rows `(languages, d_model + 1)` with the least loss, bias last. The problem is convex."""
        rows = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([rows], max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = self._mean(rows, recordings) + strength * (rows - start)[:, :-1].square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return rows.detach()


def _starts(model, languages: list[str]) -> torch.Tensor:
    """The rows that Whisper has for these languages or their relatives, with a bias of 0; else the mean of all."""
    columns = model.detection_columns(with_rows=False)
    whisper = {name: weight.double().cpu() for name, (weight, _) in columns.items()}
    codes = [model.whisper_language(language) for language in languages]
    mean = torch.stack([*whisper.values()]).mean(dim=0)
    rows = torch.stack([mean if code is None else whisper[code] for code in codes])
    return torch.cat([rows, torch.zeros(len(rows), 1, dtype=torch.float64)], dim=1)


__all__ = ["detection_states", "fit_detection"]
