"""What a checkpoint must hold so that a run which resumes from it goes on as if it had not stopped."""

import json
import re
from pathlib import Path

from transformers import TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME, ADAPTER_WEIGHTS_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_NAME

from .run_state import STATE

WEIGHTS = (SAFE_WEIGHTS_NAME, WEIGHTS_NAME, ADAPTER_SAFE_WEIGHTS_NAME, ADAPTER_WEIGHTS_NAME)
STEP_FOLDER = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def check_resumable(folder: Path, *, processes: int, has_scaler: bool, languages: list[str] | None) -> int:
    """Checks that a checkpoint is complete, and that its step can be true.

    Args:
        folder: the checkpoint.
        processes: of the run that resumes; each has a random state.
        has_scaler: whether it trains with a gradient scaler (`--fp16`).
        languages: the codes of the experts that it trains; `None`: a plain Whisper.

    Returns:
        The step.

    Raises:
        ValueError: it is no such checkpoint; the message says what to do.
    """
    if not folder.is_dir():
        raise ValueError("there is no such folder; expected one such as checkpoint-200")
    random_states = ["rng_state.pth"] if processes == 1 else [f"rng_state_{index}.pth" for index in range(processes)]
    names = [TRAINER_STATE_NAME, STATE, OPTIMIZER_NAME, SCHEDULER_NAME, *([SCALER_NAME] if has_scaler else [])]
    names += [f"expert.{language}.safetensors" for language in languages or []]
    missing = [name for name in names if not (folder / name).is_file()]
    if languages is None and not any(_holds_weights(folder, name) for name in WEIGHTS):
        missing.append(SAFE_WEIGHTS_NAME)
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}, as one of --save_only_model or one that was copied in part")
    states = {path.name for path in folder.glob("rng_state*.pth")}
    if states != set(random_states):
        if not states:
            raise ValueError(f"it lacks {', '.join(random_states)}, the state of the random numbers")
        if len(states) != processes or states == {"rng_state.pth"}:
            raise ValueError(
                f"it has random states of {len(states)} process(es), {', '.join(sorted(states))}, and this run has "
                f"{processes}; start as many as before: each has its own part of every batch"
            )
        raise ValueError(f"it lacks {', '.join(sorted(set(random_states) - states))}, the state of the random numbers")
    return _checked_step(folder)


def _holds_weights(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder / f"{name}.index.json").is_file()


def _checked_step(folder: Path) -> int:
    state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
    step = state.global_step
    named = STEP_FOLDER.fullmatch(folder.name)
    known = {
        f"the folder's name says {folder.name}": int(named[1]) if named else step,
        f"{STATE} has another step": json.loads((folder / STATE).read_text(encoding="utf-8"))["step"],
    }
    if type(step) is not int or step < 1:
        raise ValueError(f"{TRAINER_STATE_NAME} has global_step {step!r}; expected a number of 1 or more")
    for reason, expected in known.items():
        if step != expected:
            raise ValueError(f"{TRAINER_STATE_NAME} has global_step {step}, and {reason} ({expected})")
    if state.max_steps and step > state.max_steps:
        raise ValueError(f"{TRAINER_STATE_NAME} has global_step {step}, above its max_steps, {state.max_steps}")
    return step
