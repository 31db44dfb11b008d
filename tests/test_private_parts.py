"""Each private part of another library that this one needs is there: a release without one fails in its test here.

`modeling_distilwhisper/workarounds.py` says why each is needed and when it can go.
"""

import argparse
import inspect
from importlib import import_module
from importlib.metadata import version

import pytest
import torch
from transformers import Trainer, WhisperForConditionalGeneration
from transformers.utils import PushToHubMixin

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperTrainer

OVERRIDDEN = {
    (Trainer, DistilWhisperTrainer): (
        "_determine_best_metric",
        "_finalize_training",
        "_get_dataloader",
        "_get_grad_norm",
        "_get_output_dir",
        "_get_train_sampler",
        "_init_training_state",
        "_load_best_model",
        "_load_from_checkpoint",
        "_load_optimizer_and_scheduler",
        "_load_rng_state",
        "_load_scaler",
        "_push_from_checkpoint",
        "_run_epoch",
        "_save",
        "_save_checkpoint",
    ),
    (PushToHubMixin, DistilWhisperForConditionalGeneration): ("_upload_modified_files",),
    (WhisperForConditionalGeneration, DistilWhisperForConditionalGeneration): (
        "_get_candidate_generator",
        "_init_weights",
    ),
}
OVERRIDES = [(theirs, ours, name) for (theirs, ours), names in OVERRIDDEN.items() for name in names]
# The library, the module whose source has it, the text to find there, and who needs it.
READ = {
    "_combine_tokens_into_words": ("transformers", "transformers.models.whisper.tokenization_whisper", "word_times"),
    "_attn_implementation": ("transformers", "transformers.models.whisper.modeling_whisper", "word_times"),
    "_hf_peft_config_loaded": ("transformers", "transformers.trainer_utils", "quantised_backbone_is_trainable"),
    "_gen_kwargs": ("transformers", "transformers.trainer_seq2seq", "EachRowOnce"),
    "_raise_exceptions_for_missing_entries": ("transformers", "transformers.utils.hub", "repository_distilwhisper"),
    "_is_accelerate_prepared": ("accelerate", "accelerate.accelerator", "undo_preparation"),
    "_original_forward": ("accelerate", "accelerate.accelerator", "undo_preparation"),
    "_fingerprint": ("datasets", "datasets.arrow_dataset", "fingerprint_of"),
    "_compute_score_from_stats": ("sacrebleu", "sacrebleu.metrics.chrf", "with_plain_numbers"),
    "self._ci": ("sacrebleu", "sacrebleu.metrics.base", "bootstrap_ends"),
    "per_channel_dynamic_qconfig": ("torch", "torch.ao.quantization.qconfig", "cpu_int8"),
    "support_avx512bf16_for_cpu": ("bitsandbytes", "bitsandbytes.nn.modules", "keep_gradients_through_4_bit_weights"),
}


def ours_in(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.startswith("modeling_distilwhisper")]


def binds(method, *positions, **names) -> bool:
    try:
        return bool(inspect.signature(method).bind(*positions, **names))
    except TypeError:
        return False


@pytest.mark.parametrize(
    ("theirs", "ours", "name"), OVERRIDES, ids=[f"{a.__name__}.{name}" for a, _, name in OVERRIDES]
)
def test_a_private_method_that_is_overridden_is_called_as_before(theirs, ours, name):
    release = f"transformers {version('transformers')}"
    assert hasattr(theirs, name), f"{release} has no {theirs.__name__}.{name}, which {ours.__name__} overrides"
    called = [*inspect.signature(getattr(theirs, name)).parameters.values()]
    given = [one.name for one in called if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    method = next(vars(base)[name] for base in ours_in(ours) if name in vars(base))
    assert binds(method, *given) or binds(method, **dict.fromkeys(given)), (
        f"{release} gives {theirs.__name__}.{name} other arguments, {given}, than ours takes"
    )


def test_no_private_method_is_overridden_that_is_not_listed_here():
    listed = {name for names in OVERRIDDEN.values() for name in names}
    for cls in (DistilWhisperTrainer, DistilWhisperForConditionalGeneration):
        foreign = [base for base in cls.__mro__ if base not in ours_in(cls) and base is not object]
        names = {name for base in ours_in(cls) for name, value in vars(base).items() if inspect.isfunction(value)}
        private = {name for name in names if name.startswith("_") and not name.startswith("__")}
        assert {name for name in private if any(name in vars(base) for base in foreign)} <= listed


@pytest.mark.parametrize("name", READ)
def test_a_private_name_that_is_read_is_still_used_there(name):
    library, module, user = READ[name]
    pytest.importorskip(library)
    source = inspect.getsource(import_module(module))
    assert name in source, f"{library} {version(library)}: {name} is gone from {module}; {user} needs it"


def test_pytorch_counts_changes_of_a_tensor_and_names_a_modules_hooks_and_children():
    """The digests of a model are computed again when a weight has changed; wrapped modules are called, not read."""
    tensor, module = torch.zeros(2), torch.nn.Linear(2, 2)
    before = tensor._version
    tensor.add_(1)
    assert tensor._version > before
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_modules"):
        assert isinstance(getattr(module, name), dict), f"torch {torch.__version__} has no Module.{name}"


@pytest.mark.parametrize("name", ["_format_action_invocation", "_format_args", "_get_default_metavar_for_optional"])
def test_argparse_formats_flags_by_the_methods_that_the_help_calls(name):
    assert callable(getattr(argparse.HelpFormatter, name))
