"""The state of a training that a checkpoint keeps in addition to Transformers' files: counts, beta, best scores."""

import json
from collections import Counter
from pathlib import Path

from ..runs.files import write_atomically
from ..runs.forms import read_json_file
from .kd_weight import DistillationWeight
from .log import TrainingLog

STATE = "distilwhisper_state.json"
FORM = {"utterances": {str: int}, "steps": {str: int}, "kd_beta": float | None, "step": int, "best": dict}

Scores = dict[str, dict[str, float]]  # by language: `step` and `score`


def save_state(folder: Path, step: int, log: TrainingLog, kd_weight: DistillationWeight, best: Scores) -> None:
    """Writes the state of a training at a step into a checkpoint's folder."""
    state = {
        "step": step,
        "utterances": log.utterances,
        "steps": log.steps,
        "skipped_steps": log.skipped_steps,
        "seconds": log.seconds,
        "kd_beta": kd_weight.learned,
        "best": best,
    }
    write_atomically(folder / STATE, json.dumps(state) + "\n")


def load_state(folder: Path, log: TrainingLog, kd_weight: DistillationWeight) -> tuple[int, Scores]:
    """Restores the log's counts, its clock and a learned beta from a checkpoint; returns its step and best scores."""
    state = read_json_file(folder / STATE, FORM, f"Delete {folder} to continue from the checkpoint before.")
    log.utterances, log.steps = Counter(state["utterances"]), Counter(state["steps"])
    log.skipped_steps = state.get("skipped_steps", 0)  # checkpoints of earlier versions have no such count
    log.seconds_before = state.get("seconds")  # nor this
    kd_weight.learned = state["kd_beta"]
    return state["step"], state["best"]
