"""Keeps a training on a CPU from growing from step to step."""

from transformers import TrainerCallback

from ..workarounds import return_freed_memory


class FreedMemory(TrainerCallback):
    """Gives back what each batch has freed: its activations and gradients."""

    def on_step_end(self, args, state, control, **kwargs):
        return_freed_memory()

    def on_substep_end(self, args, state, control, **kwargs):
        return_freed_memory()
