"""Every place where this library reaches into private parts of another one: why, of which version, until when.

`DistilWhisperTrainer` and `CompleteCheckpoints` override private methods of Transformers' `Trainer` besides; their
docstrings list them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import TrainingArguments

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Score


@contextmanager
def quantised_backbone_is_trainable(model: torch.nn.Module) -> Iterator[None]:
    """Within it, Transformers' `Trainer` accepts a model with experts on a quantised backbone.

    Why: `Trainer` refuses to train quantised weights unless adapters of PEFT lie on them, which it knows by
    `_hf_peft_config_loaded`. Experts are such adapters. Afterwards the attribute must be false again, or
    `save_pretrained` would look for PEFT's adapters.
    Version: transformers 5.23 (`trainer_utils.validate_quantization_for_training`).
    Until: `Trainer` lets a model say that it has trainable weights on a quantised backbone.
    """
    is_quantised = getattr(model, "is_quantized", False)
    if is_quantised:
        model._hf_peft_config_loaded = True
    try:
        yield
    finally:
        if is_quantised:
            model._hf_peft_config_loaded = False


def keep_gradients_through_4_bit_weights(model: torch.nn.Module) -> None:
    """Gradients pass the 4-bit weights of a model after it has been scored, too.

    Why: on CPUs with AVX512-BF16, bitsandbytes packs 4-bit weights for inference at the first forward pass in
    evaluation mode, with coarser scales, and no gradient passes packed weights. So scoring between epochs would end
    the training of all layers below.
    Version: bitsandbytes 0.50 (`nn.modules.Linear4bit.support_avx512bf16_for_cpu`).
    Until: bitsandbytes unpacks the weights when training goes on, or has an option for it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def silence_cast_messages() -> None:
    """bitsandbytes no longer says at every call of every layer that inputs are cast.

    Version: bitsandbytes 0.50 (`autograd._functions`).
    Until: bitsandbytes says it once.
    """
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


@contextmanager
def without_push(args: TrainingArguments) -> Iterator[None]:
    """Within it, saving a checkpoint does not push it to the Hub.

    Why: `Trainer._save_checkpoint` pushes the folder that it has just written. Ours is not complete then: it still has
    to be renamed. It is pushed after that.
    Version: transformers 5.23.
    Until: `Trainer` has a step of its own for the push.
    """
    push, args.push_to_hub = args.push_to_hub, False
    try:
        yield
    finally:
        args.push_to_hub = push


def undo_preparation(model: torch.nn.Module) -> None:
    """Makes a model as it was before `Accelerator.prepare_model` marked and wrapped it.

    Why: a model that was prepared for scoring would be trained without the other processes, and a teacher would teach
    in another precision. `accelerate.utils.extract_model_from_parallel` does not stop at accelerate's own wrapper, but
    unwraps Transformers' decorators of `forward` as well.
    Version: accelerate 1.15 (`_is_accelerate_prepared`, `_original_forward`).
    Until: `Accelerator.free_memory` undoes what `prepare_model` did to the models given to it.
    """
    attributes = vars(model)
    attributes.pop("_is_accelerate_prepared", None)
    if attributes.pop("_original_forward", None) is not None:
        attributes.pop("forward", None)


def set_epoch_of_samplers(data_loader, epoch: int) -> None:
    """Sets the epoch of every sampler under a data loader, however many wrappers there are.

    Why: Transformers sets the epoch of the data loader and of the sampler directly under it. When several processes
    resume within an epoch, more wrappers lie between, and the sampler would draw the first epoch's rows again.
    Version: transformers 5.23 (`Trainer._run_epoch`), accelerate 1.15 (`skip_first_batches`).
    Until: `set_epoch` of accelerate's data loaders reaches the innermost sampler.
    """
    layer = data_loader
    while layer is not None:
        if hasattr(layer, "set_epoch"):
            layer.set_epoch(epoch)
        layer = getattr(layer, "batch_sampler", None) or getattr(layer, "sampler", None)


def bootstrap_ends(score: "Score") -> tuple[float, float]:
    """The ends of the 95 % bootstrap interval of a score by sacrebleu.

    Why: sacrebleu gives them only as formatted text.
    Version: sacrebleu 2.6 (`Score._mean`, `Score._ci`).
    Until: `Score` has public attributes for them.
    """
    return float(score._mean - score._ci), float(score._mean + score._ci)
