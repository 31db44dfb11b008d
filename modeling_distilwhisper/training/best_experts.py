"""Each language's best experts so far in a training, kept apart from its checkpoints."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..runs.files import write_atomically
from ..runs.forms import read_json_file
from .finite_steps import check_finite

logger = logging.get_logger(__name__)

CHANCE = 2  # A difference of two scores may be chance if it is within this many of its standard errors.


class BestExperts:
    """The best experts of each language so far, by that language's score.

    They are in a separate folder: `expert.<language>.safetensors`, and `best.json` with step and score of each.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def scores(self) -> dict[str, dict[str, float]]:
        """By language: `step` and `score`."""
        path = self.folder / "best.json"
        return read_json_file(path, {str: {"step": int, "score": float}}) if path.is_file() else {}

    def keep(self, model, scores: dict[str, float], step: int, *, more_is_better: bool) -> None:
        """Saves the experts of those languages whose score is better than any before.

        Args:
            model: the model with the experts.
            scores: by language, at this step.
            step: the training step.
            more_is_better: whether a higher score is better.

        Raises:
            ValueError: weights of the model are not finite.
        """
        best = self.scores()
        better = []
        for language, score in scores.items():
            if not math.isfinite(score):
                continue  # such as the loss of a language whose every row is damaged
            before = best.get(language, {}).get("score")
            if before is None or (score > before if more_is_better else score < before):
                better.append(language)
                best[language] = {"step": step, "score": score}
        if better:
            # Scores of files that are being replaced are deleted first: after a stop in between, `best.json` would
            # give the old score for a new file.
            check_finite(model, "A model with better scores")
            self._write({language: entry for language, entry in best.items() if language not in better})
            model.save_experts(self.folder, languages=better)
            self._write(best)

    def _write(self, scores: dict[str, dict[str, float]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "best.json", json.dumps(scores, indent=2) + "\n")

    def load(self, model) -> None:
        """Loads them into the model; languages that were never scored stay as they are."""
        for language in self.scores():
            model.reload_experts(self.folder, languages=[language])

    def resume(self, known: dict[str, dict[str, float]], step: int) -> None:
        """Resumes a run at a step at which these were its scores. Entries of another run up to that step are deleted.

        Entries of later steps stay: they count as this run's, which repeats these steps.
        """
        entries = self.scores()
        valid = {
            language: entry
            for language, entry in entries.items()
            if (self.folder / f"expert.{language}.safetensors").is_file()
            and (entry["step"] > step or entry == known.get(language))
        }
        lost = sorted(language for language in known if language not in valid)
        if lost:
            logger.warning(f"{self.folder} lacks the best experts so far of {lost}. Later steps replace them.")
        if valid != entries:
            self._write(valid)

    def forget(self) -> None:
        """Deletes them all."""
        for path in [*self.folder.glob("expert.*.safetensors"), *self.folder.glob("best.json")]:
            path.unlink()


def within_chance(history: Iterable[Mapping[str, Any]], best: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names the languages whose best WER is below that of the last step by so few errors that it may be chance.

    The standard error is that of the difference of two independent counts of errors.

    Args:
        history: lines of the log; those with scores have `step`, and for each language `eval_wer_` and `eval_words_`.
        best: by language, `step` and `score` of the best.

    Returns:
        A sentence for each such language.
    """
    scored = list(history)
    sentences = []
    for language, entry in best.items():
        lines = [line for line in scored if {f"eval_wer_{language}", f"eval_words_{language}"} <= line.keys()]
        kept = [line for line in lines if line["step"] == entry["step"]]
        if not kept or lines[-1]["step"] == entry["step"]:
            continue
        words = f"eval_words_{language}"
        fewest, last = (round(line[f"eval_wer_{language}"] * line[words]) for line in (kept[-1], lines[-1]))
        if fewest < last <= fewest + CHANCE * math.sqrt(fewest + last):
            sentences.append(
                f"{language} keeps the experts of step {entry['step']:.0f}, with {_errors(fewest)} in validation "
                f"({lines[-1][words]:.0f} words); those of the last step, {lines[-1]['step']}, have {last}."
            )
    return sentences


def _errors(count: int) -> str:
    return f"{count} error{'' if count == 1 else 's'}"
