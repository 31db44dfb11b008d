"""Saves that are killed at their n-th step on files, and what a reader finds after each: run in a process apart."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

MOVES = {"os.rename"}
STEPS = MOVES | {"open", "os.mkdir", "os.remove", "shutil.copyfile", "shutil.rmtree"}


def kill_at(step: int, folder: Path, steps: set[str]) -> None:
    """From here on the process is killed before its n-th step of these kinds that touches a file in the folder."""
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in steps and any(str(argument).startswith(str(folder)) for argument in arguments[:2]):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def save_and_be_killed(model, folder: Path, step: int, steps: set[str], settings: dict) -> bool:
    """Saves in a process of its own; returns whether the save came to its end first."""
    child = os.fork()
    if child == 0:
        kill_at(step, folder, steps)
        model.save_pretrained(folder, **settings)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main(old: str, new: str, target: str, settings: str, kinds: str) -> None:
    """Prints a JSON line for each step: whether the folder loads, and whose experts it then has."""
    torch.set_num_threads(1)
    load = DistilWhisperForConditionalGeneration.from_pretrained
    models = {name: load(name) for name in (old, new)}
    biases = {name: model.experts_of("gl")["encoder", 0].fc1.bias.tolist() for name, model in models.items()}
    folder = Path(target)
    finished, step, steps = False, 0, STEPS if kinds == "all" else MOVES
    while not finished:
        step += 1
        finished = save_and_be_killed(models[new], folder, step, steps, json.loads(settings))
        line = {"step": step, "finished": finished, "empty": sorted(p.name for p in folder.iterdir() if empty(p))}
        try:
            bias = load(folder).experts_of("gl")["encoder", 0].fc1.bias.tolist()
            line["loads"] = next((Path(name).name for name, value in biases.items() if value == bias), "a mixture")
        except Exception as error:  # any class counts against the save
            line["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(line | {"leftovers": len([*folder.glob(".partial*")])}))


def empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


if __name__ == "__main__":
    main(*sys.argv[1:])
