"""The parts of a training run, from its settings to its report, as functions that can be called alone."""

from .arguments import DataArguments, ModelArguments, check_arguments, open_run
from .models import load_student, load_teachers, precision_of_teacher
from .results import collect_results, finished_results, keep_rows, report, save_run
from .scores import score_after, score_before
from .speech import SpeechData

__all__ = [
    "DataArguments",
    "ModelArguments",
    "SpeechData",
    "check_arguments",
    "collect_results",
    "finished_results",
    "keep_rows",
    "load_student",
    "load_teachers",
    "open_run",
    "precision_of_teacher",
    "report",
    "save_run",
    "score_after",
    "score_before",
]
