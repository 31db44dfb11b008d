"""The models of a training run: the student that learns, and the teacher."""

import torch
from transformers import WhisperForConditionalGeneration

from ...modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ...runs.any_whisper import load_weights
from ...runs.precision import precision_settings
from ...training.teacher import Teacher, load_teacher
from ...training.teacher_cache import TeacherCache
from .arguments import ModelArguments


def load_student(model_args: ModelArguments, device: torch.device):
    """The model to train, as `--method` says.

    Returns:
        A `DistilWhisperForConditionalGeneration` with experts (new ones, or those of `--experts_from`) on a frozen
        Whisper; a Whisper with LoRA; or a plain Whisper.
    """
    loading = precision_settings(model_args.student_precision, device)
    if model_args.method != "experts":
        plain = load_weights(WhisperForConditionalGeneration, model_args.student, **loading)
        return plain if model_args.method == "finetune" else with_lora(plain, model_args.lora_rank)
    names = ("gate_budget", "skip_gate_prob", "gate_training", "gate_noise_max", "expert_rank")
    settings = {name: getattr(model_args, name) for name in names} | {"gate_budgets": model_args.budgets}
    new_languages = [] if model_args.experts_from else model_args.languages
    model = DistilWhisperForConditionalGeneration.from_whisper(
        model_args.student, languages=new_languages, **loading, **settings
    )
    if model_args.experts_from:
        for language in model_args.languages:
            model.load_experts(model_args.experts_from, language)
        model.freeze_backbone()
    return model


def with_lora(model: WhisperForConditionalGeneration, rank: int):
    """The model with LoRA on the feed-forward layers, where experts are too; alpha is twice the rank."""
    from peft import LoraConfig, get_peft_model  # it takes seconds to import, and is an extra

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["fc1", "fc2"]))


def load_teachers(
    model_args: ModelArguments, device: torch.device
) -> tuple[Teacher | None, Teacher | TeacherCache | None]:
    """The teacher as a model, if `--teacher` names one, and what the student learns from: that model, or a cache."""
    teacher = None
    if model_args.teacher:
        teacher = load_teacher(model_args.teacher, model_args.teacher_precision, device)
    return teacher, TeacherCache(model_args.teacher_cache) if model_args.teacher_cache else teacher


def precision_of_teacher(teacher: Teacher | TeacherCache | None, precision: str) -> str | None:
    """The precision of the teacher's weights, also where the setting is "auto"; of a cache, when it was made."""
    if teacher is None:
        return None
    if isinstance(teacher, TeacherCache):
        return teacher.manifest.get("teacher precision")
    return str(teacher.model.dtype) if precision == "auto" else precision
