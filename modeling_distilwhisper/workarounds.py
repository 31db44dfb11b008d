"""Where this library uses private parts of other libraries: why, of which version, until when.

Private parts are used outside this file only where they cannot be moved here:

- `DistilWhisperTrainer`, `ExpertCheckpoints` and `CompleteCheckpoints` override private methods of Transformers'
  `Trainer`, and the first reads `_gen_kwargs`. Their docstrings list them.
- The code in a checkpoint (`*_distilwhisper.py`) runs without the package, so it cannot import this file.
  `PushExpertsMixin` overrides a private method of `PushToHubMixin`,
  `LanguageRoutedGenerationMixin` overrides `_get_candidate_generator`, and `cached_file` is called with
  `_raise_exceptions_for_missing_entries=False`, for which there is no public argument. `BuiltOnWhisper` overrides
  `_init_weights`. Of PyTorch, `is_bare` reads a module's hooks (`_forward_hooks` and so on), `dense_weight` its
  `_modules`, and the fingerprint a tensor's `_version`.
- `transcription/word_times.py` and `side_by_side.py` divide a text into words by `_combine_tokens_into_words`. The
  first also reads `_attn_implementation`, to put it back.
- `runs/cpu_int8.py` packs matrices by `torch.ao`, which is public and said to go. What replaces it, torchao, takes
  longer than float32 on a CPU without a compiler (torchao 0.18). Until torchao's 8-bit matrices are fast there.
- `commands/command_line.py` formats help texts with private parts of `argparse`, which has no public ones for it.

For each name, `tests/test_private_parts.py` has a test that fails where a release lacks it.

This module imports no other library: what it silences is said while they are imported.
"""

import ctypes
import functools
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from sacrebleu.metrics.base import Metric, Score
    from transformers import PreTrainedModel, TrainingArguments

# By logger: messages of libraries about themselves, of which a user of ours can change nothing.
MESSAGES_ABOUT_THEMSELVES = {
    "transformers.generation.utils": re.compile(
        r"Passing `generation_config` together with generation-related "
        r"arguments=\(\{('(begin_)?suppress_tokens'(, )?)+\}\) is deprecated"
    ),
    "torchao": re.compile(r"Failed to load \S+\.so: "),
    "torch.utils._pytree": re.compile(r".* is an Enum subclass and is now natively supported by torch\.compile"),
}
# What libmpg123, which libsndfile decodes mp3 with, writes to the file descriptor of errors.
_NOTES_OF_MPG123 = re.compile(
    rb"(Note: (Illegal Audio-MPEG-Header|Trying to resync|Skipped \d+ bytes|Hit end of|missing \d+ bytes)"
    rb"|Warning: (Xing stream size|Big change|Encountered more data)|\[?src/libmpg123/|\s*$)"
)
_quiet = threading.Lock()
_readers = 0


@contextmanager
def quantised_backbone_is_trainable(model: "PreTrainedModel") -> Iterator[None]:
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


def keep_gradients_through_4_bit_weights(model: "torch.nn.Module") -> None:
    """Makes gradients pass the 4-bit weights of a model after it was scored, too.

    Why: on CPUs with AVX512-BF16, bitsandbytes packs 4-bit weights for inference at the first forward pass in
    evaluation mode, with coarser scales, and no gradient passes packed weights. So scoring between epochs would end
    the training of all layers below.
    Version: bitsandbytes 0.50 (`nn.modules.Linear4bit.support_avx512bf16_for_cpu`).
    Until: bitsandbytes unpacks the weights when training continues, or has an option for it.
    """
    for module in model.modules():
        attributes = vars(module)
        if "support_avx512bf16_for_cpu" in attributes:
            attributes["support_avx512bf16_for_cpu"] = False


def silence_cast_messages() -> None:
    """Stops a message of bitsandbytes that it casts inputs.

    Why: it logs the message at every call of every layer.
    Version: bitsandbytes 0.50 (`autograd._functions`).
    Until: bitsandbytes logs it once.
    """
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def silence_messages_about_themselves() -> None:
    """Stops the messages of `MESSAGES_ABOUT_THEMSELVES`. Others of the same loggers are shown.

    Why: every command printed them. Whisper's `generate` in Transformers passes `begin_suppress_tokens` beside a
    `generation_config` to Transformers' own `generate`, which calls that deprecated; torchao names each of its files
    for other machines; its import makes PyTorch warn of its enums.
    Version: transformers 5.23 (`WhisperGenerationMixin.generate`), torchao 0.18, torch 2.13.
    Until: none of the three messages is printed by `distilwhisper transcribe`.
    """
    for name in MESSAGES_ABOUT_THEMSELVES:
        logging.getLogger(name).addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not MESSAGES_ABOUT_THEMSELVES[record.name].match(record.getMessage())


silence_messages_about_themselves()


@contextmanager
def without_notes_of_mpg123() -> Iterator[None]:
    """Within it, decoding an mp3 prints no notes about the file. What else is written to stderr comes afterwards.

    Why: libsndfile opens libmpg123 without its flag for quiet, so notes such as "Trying to resync" come between the
    lines of a command, for files that are read without a loss. They are written by C code: Python cannot filter them.
    Version: libsndfile 1.2.2 in soundfile 0.14.
    Until: libsndfile passes `MPG123_QUIET`.
    """
    global _readers
    with _quiet:
        _readers += 1
        if _readers == 1:
            _begin_to_hold_stderr()
    try:
        yield
    finally:
        with _quiet:
            _readers -= 1
            if _readers == 0:
                _write_held_stderr()


_held: list = []  # the file that takes what is written to stderr, and the descriptor where it belongs


def _begin_to_hold_stderr() -> None:
    try:
        _held[:] = [tempfile.TemporaryFile(), os.dup(2)]  # noqa: SIM115 (`_write_held_stderr` closes it)
        os.dup2(_held[0].fileno(), 2)
    except OSError:  # there is no stderr, or no place for a file
        _held.clear()


def _write_held_stderr() -> None:
    if not _held:
        return
    file, stderr = _held
    _held.clear()
    os.dup2(stderr, 2)
    file.seek(0)
    lines = [line for line in file.read().splitlines(keepends=True) if not _NOTES_OF_MPG123.match(line)]
    file.close()
    if lines:
        os.write(stderr, b"".join(lines))
    os.close(stderr)


@contextmanager
def without_push(args: "TrainingArguments") -> Iterator[None]:
    """Within it, saving a checkpoint does not push it to the Hub.

    Why: `Trainer._save_checkpoint` pushes the folder that it has just written. Our folder is not complete then: it
    still has to be renamed. It is pushed after that.
    Version: transformers 5.23.
    Until: `Trainer` pushes in a separate step.
    """
    push, args.push_to_hub = args.push_to_hub, False
    try:
        yield
    finally:
        args.push_to_hub = push


def undo_preparation(model: "torch.nn.Module") -> None:
    """Restores a model to what it was before `Accelerator.prepare_model` marked and wrapped it.

    Why: a model that was prepared for scoring would be trained without the other processes, and a teacher would run in
    another precision. `accelerate.utils.extract_model_from_parallel` does not stop at accelerate's own wrapper, but
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

    Why: sacrebleu returns them only as formatted text.
    Version: sacrebleu 2.6 (`Score._mean`, `Score._ci`).
    Until: `Score` has public attributes for them.
    """
    return float(score._mean - score._ci), float(score._mean + score._ci)


def with_plain_numbers(metric: "Metric") -> "Metric":
    """A metric of sacrebleu that computes with Python's numbers in bootstrap too.

    Why: chrF of a sample is NumPy's float32, but Python's float where it is 0; `statistics.mean` refuses the mixture.
    Version: sacrebleu 2.6 (`CHRF._compute_score_from_stats`).
    Until: `CHRF` always returns one type.
    """
    compute = metric._compute_score_from_stats

    def compute_with_plain_numbers(statistics):
        return compute([float(number) for number in statistics])

    vars(metric)["_compute_score_from_stats"] = compute_with_plain_numbers
    return metric


def fingerprint_of(rows: "Dataset") -> str:
    """A digest of a data set's content, by which `datasets` finds results in its cache.

    Why: without it, a data set made of these rows would be hashed with all its audio.
    Version: datasets 5.2 (`Dataset._fingerprint`).
    Until: `Dataset` has a public attribute for it.
    """
    return rows._fingerprint


def return_freed_memory() -> None:
    """Gives memory that tensors have left back to the system.

    Why: how many tokens take an expert changes with every batch. glibc keeps what is freed in pieces, which are too
    small for tensors of the next step, and a training of whisper-base on a CPU grew to 17 GB.
    Version: glibc 2.36. Other C libraries have no `malloc_trim`.
    Until: PyTorch's allocator for CPUs keeps its own memory, as that for GPUs does.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(ctypes.c_size_t(0))


@functools.cache
def _malloc_trim():
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
