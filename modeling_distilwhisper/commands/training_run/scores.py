"""The scores of a training run: before and after training, of the teacher, and with forced gates."""

from transformers.utils import logging

from ...evaluation.gates import forced_gates
from ...evaluation.normalization import NORMALIZERS
from ...runs.run_folder import RunFolder
from ...training.scoring import Scores, score
from ...training.teacher import Teacher
from ...training.trainer import DistilWhisperTrainer
from .speech import SpeechData

logger = logging.get_logger(__name__)


def score_before(
    run: RunFolder, trainer: DistilWhisperTrainer, data: SpeechData, teacher: Teacher | None
) -> dict[str, Scores]:
    """Scores of the student before training and, if it is given, of the teacher. They are kept in `before.json`.

    Args:
        teacher: give it to score it too (`--score_teacher`).
    """
    scores = run.read("before.json")
    if scores is None or rules_of(scores) != {NORMALIZERS[trainer.args.normalizer].name}:
        if scores is not None:
            logger.warning(
                f"{run.folder} was started by a version that scored by {' and '.join(sorted(rules_of(scores)))}, now "
                f"{NORMALIZERS[trainer.args.normalizer].name}. The scores before training are made again. Validation "
                "scores of earlier steps stay as they are, and the best checkpoint so far was chosen by them."
            )
        scores = {"before": score(trainer, data.tests)}
        if teacher is not None:
            teacher_trainer = DistilWhisperTrainer(
                teacher.model, trainer.args, eval_dataset=data.validation, processing_class=teacher.processor
            )
            scores["teacher"] = score(teacher_trainer, data.tests)
            teacher_trainer.release()
        if trainer.is_world_process_zero():
            run.write("before.json", scores)
    return scores


def rules_of(scores: dict[str, Scores]) -> set[str]:
    """The names of the rules by which these scores were made."""
    rates = (one for by_set in scores.values() for by_language in by_set.values() for one in by_language.values())
    return {str(one["normalizer"]) for one in rates}


def score_after(trainer: DistilWhisperTrainer, data: SpeechData) -> dict[str, Scores]:
    """Scores of the trained model; with experts, also with all gates open, and with all closed (as the student)."""
    scores = {"after": score(trainer, data.tests)}
    if trainer.is_routed:
        for name, is_open in {"gates open": True, "gates closed": False}.items():
            with forced_gates(trainer.model, is_open=is_open):
                scores[name] = score(trainer, data.trained_tests)
    return scores


def expert_usage(trainer: DistilWhisperTrainer, data: SpeechData) -> dict[str, dict[str, float]]:
    """The share of tokens that take the expert, by trained language and layer, on the first corpus's test rows."""
    return {language: trainer.measure_expert_usage(rows) for language, rows in data.trained_tests[data.first].items()}
