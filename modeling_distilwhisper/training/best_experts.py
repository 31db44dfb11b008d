"""Each language's best experts so far in a training, kept apart from its checkpoints."""

import json
from pathlib import Path

from transformers.utils import logging

from ..runs.files import write_whole

logger = logging.get_logger(__name__)


class BestExperts:
    """The best experts of each language so far, each language's by its own score: `expert.<language>.safetensors` and
    `best.json`, which says at what step and how good, in a folder of their own.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def scores(self) -> dict[str, dict[str, float]]:
        """By language: `step` and `score`."""
        path = self.folder / "best.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def keep(self, model, found: dict[str, float], step: int, *, more_is_better: bool) -> None:
        """Saves the experts of those languages whose score is better than any before."""
        scores = self.scores()
        better = []
        for language, score in found.items():
            before = scores.get(language, {}).get("score")
            if before is None or (score > before if more_is_better else score < before):
                better.append(language)
                scores[language] = {"step": step, "score": score}
        if better:
            # What is being replaced is not noted meanwhile: killed in between, it would be taken for what it was.
            self._note({code: own for code, own in scores.items() if code not in better})
            model.save_experts(self.folder, languages=better)
            self._note(scores)

    def _note(self, scores: dict[str, dict[str, float]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "best.json", json.dumps(scores, indent=2) + "\n")

    def load(self, model) -> None:
        """Puts them into the model; languages that were never scored stay as they are."""
        for language in self.scores():
            model.reload_experts(self.folder, languages=[language])

    def go_on(self, known: dict[str, dict[str, float]], step: int) -> None:
        """Resumes a run at a step, when these were its scores, and forgets those of another run up to that step.

        Those of later steps stay: they are taken for the run's own, which makes these steps again.
        """
        there = self.scores()
        own = {code: found for code, found in there.items() if found["step"] > step or found == known.get(code)}
        lost = sorted(code for code in known if code not in own)
        if lost:
            logger.warning(f"{self.folder} has not the best experts so far of {lost}: those of later steps will count.")
        if own != there:
            self._note(own)

    def forget(self) -> None:
        for path in [*self.folder.glob("expert.*.safetensors"), *self.folder.glob("best.json")]:
            path.unlink()
