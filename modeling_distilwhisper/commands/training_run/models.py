"""The models of a training run: the student that learns, and the teacher."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSpeechSeq2Seq, WhisperConfig, WhisperForConditionalGeneration

from ...configuration_distilwhisper import DistilWhisperConfig
from ...evaluation.gates import SIDES
from ...modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ...runs.any_whisper import expert_languages, load_weights
from ...runs.precision import precision_settings
from ...runs.starts import without_detected
from ...training.lora import with_lora
from ...training.teacher import Teacher, load_teacher
from ...training.teacher_cache import TeacherCache
from .arguments import OF_NEW_EXPERTS, ModelArguments, given_settings
from .own_languages import start_until_data

# Settings that a trained model does not need.
OF_TRAINING = ("skip_gate_prob", "gate_training", "gate_noise_max", "gate_dropout", "expert_dropout")


def load_student(model_args: ModelArguments, device: torch.device):
    """The model to train, as `--method` says.

    Returns:
        A `DistilWhisperForConditionalGeneration` with experts (new ones, or those of `--experts_from`) on a frozen
        Whisper; a Whisper with LoRA; or a plain Whisper. If the student has experts already, they are kept.

    Raises:
        ValueError: the student has experts, and the settings ask for others than it can have.
    """
    loading = precision_settings(model_args.student_precision, device)
    hub: dict[str, Any] = {"revision": model_args.model_revision} if model_args.model_revision else {}
    has_experts = _has_experts(model_args.student, hub)
    if model_args.method != "experts":
        if has_experts:
            raise ValueError(
                f"--method {model_args.method} needs a plain Whisper, and {model_args.student} has experts."
            )
        plain = load_weights(WhisperForConditionalGeneration, model_args.student, **hub, **loading)
        if model_args.method == "finetune":
            return plain
        return with_lora(plain, model_args.lora_rank, model_args.lora_alpha, model_args.lora_dropout)
    if has_experts:
        return _with_more_experts(model_args, hub | loading)
    names = (*OF_TRAINING, *OF_NEW_EXPERTS, "gate_budget")
    settings: dict[str, Any] = {name: getattr(model_args, name) for name in names} | {
        "gate_budgets": model_args.budgets
    }
    settings |= {"expert_task": model_args.task, **_sides(model_args)}
    model = DistilWhisperForConditionalGeneration.from_whisper(
        model_args.student, languages=[], **hub, **loading, **settings
    )
    _add_languages(model, model_args)
    return model


def load_trained(model_args: ModelArguments, folder: Path, device: torch.device):
    """The model that a run left in its folder."""
    loading = precision_settings(model_args.student_precision, device)
    kind = DistilWhisperForConditionalGeneration if model_args.method == "experts" else AutoModelForSpeechSeq2Seq
    return load_weights(kind, str(folder), **loading)


def _sides(model_args: ModelArguments) -> dict[str, bool]:
    return {f"{side}_experts": not getattr(model_args, f"freeze_{side}") for side in SIDES}


def _has_experts(student: str, hub: dict) -> bool:
    return WhisperConfig.get_config_dict(student, **hub)[0].get("model_type") == DistilWhisperConfig.model_type


def _with_more_experts(model_args: ModelArguments, loading: dict[str, Any]):
    """The student with its experts and new ones. What its languages have in common stays as it is."""
    training = {name: getattr(model_args, name) for name in OF_TRAINING}
    model = DistilWhisperForConditionalGeneration.from_pretrained(model_args.student, **loading, **training)
    config = model.config
    asked = {"expert_task": model_args.task, **_sides(model_args)}
    flags = {
        "expert_task": f"--task {config.expert_task}",
        "encoder_experts": f"--freeze_encoder {str(not config.encoder_experts).lower()}",
        "decoder_experts": f"--freeze_decoder {str(not config.decoder_experts).lower()}",
    }
    for name, value in asked.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"The experts of {model_args.student} were trained with {flags[name]}. Expected the same here."
            )
    budgets = {code: model_args.budgets.get(code, model_args.gate_budget) for code in model_args.languages}
    budgets = (config.gate_budgets or {}) | budgets
    config.gate_budgets = {code: budget for code, budget in budgets.items() if budget != config.gate_budget}
    _add_languages(model, model_args)
    return model


def _add_languages(model: DistilWhisperForConditionalGeneration, model_args: ModelArguments) -> None:
    """Gives each trained language its experts: those of `--experts_from`; those that it has; or new ones.

    Raises:
        ValueError: the settings ask for another rank or gate width than the experts have.
    """
    shape = {name: getattr(model.config, name) for name in OF_NEW_EXPERTS}
    for name in OF_NEW_EXPERTS:
        setattr(model.config, name, getattr(model_args, name))
    starts = without_detected(model_args.starts)
    there = expert_languages(model_args.experts_from) if model_args.experts_from else []
    for language in model_args.languages:
        if model_args.experts_from:
            if language in (model.config.languages or []):
                model.remove_language(language)
            relative = starts.get(language)
            saved_as = relative if language not in there and relative in there else language
            model.load_experts(model_args.experts_from, language, saved_as=saved_as)
        elif language in (model.config.languages or []):
            if language in model_args.starts:
                raise ValueError(
                    f"--init_from: {model_args.student} has experts of {language} already, which are trained further. "
                    "Leave it out."
                )
        else:
            model.add_language(language, starts.get(language) or start_until_data(model, language))
        _check_shape(model, language, model_args)
    for name, value in shape.items():  # of the languages that were there; each file of experts says its own
        setattr(model.config, name, value)
    model.freeze_backbone()


def _check_shape(model: DistilWhisperForConditionalGeneration, language: str, model_args: ModelArguments) -> None:
    """Refuses a rank or gate width that the settings ask for, and that experts from elsewhere do not have."""
    expert = next(iter(model.experts_of(language).values()))
    has = {"expert_rank": expert.rank, "gate_dim": expert.gate.hidden.out_features}
    for name in given_settings(model_args) & has.keys():
        if getattr(model_args, name) != has[name]:
            raise ValueError(
                f"--{name} {getattr(model_args, name)} is for new experts. Those of {language} have {has[name]}. "
                "Leave it out, or train new ones from a plain Whisper."
            )


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
