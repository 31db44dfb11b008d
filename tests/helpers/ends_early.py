"""A command of `distilwhisper`, of which one process ends early.

Arguments: the process, the number of the batch that it does not end, what happens then ("killed", or the text of an
error), and the command.
"""

import os
import signal
import sys

from transformers import WhisperForConditionalGeneration

import distilwhisper_cli

process, batch, end, *command = sys.argv[1:]
generate, batches = WhisperForConditionalGeneration.generate, 0


def end_early(*arguments, **settings):
    global batches
    batches += 1
    if batches == int(batch) and end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if batches == int(batch):
        raise ValueError(end)
    return generate(*arguments, **settings)


if os.environ["RANK"] == process:
    WhisperForConditionalGeneration.generate = end_early
sys.exit(distilwhisper_cli.main(command))
