"""Models with experts: made from a plain Whisper, or loaded from a folder or Hub repository."""

import copy
import os
from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import HFValidationError
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, WhisperConfig
from transformers.utils import GENERATION_CONFIG_NAME, SAFE_WEIGHTS_NAME

from .configuration_distilwhisper import DistilWhisperConfig
from .experts_distilwhisper import LanguageExpertsMixin
from .language_names_distilwhisper import language_name, language_names
from .languages_distilwhisper import complete_generation_config
from .repository_distilwhisper import (
    HUB_ARGUMENTS,
    base_model_settings,
    checked_backbone,
    commit_of_now,
    config_of,
    explained_settings,
    has_one_of,
    has_only_pickled_weights,
    has_weights,
    require_distilwhisper,
)


class LoadingMixin(LanguageExpertsMixin):
    """`from_whisper` and `from_pretrained` of a `DistilWhisperForConditionalGeneration` or `DistilWhisperModel`.

    Needs from its class: a Transformers model of Whisper's layout, whose layers are `RoutedFeedForward`.
    """

    @classmethod
    def from_whisper(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        languages: list[str],
        *,
        init_from: Mapping[str, str | Mapping[str, float]] | None = None,
        gate_budget: float = 0.5,
        gate_budgets: dict[str, float] | None = None,
        skip_gate_prob: float = 0.0,
        gate_dim: int = 64,
        gate_training: str = "hard",
        gate_noise_max: float = 5.0,
        gate_dropout: float = 0.0,
        expert_dropout: float = 0.0,
        expert_rank: int = 0,
        expert_task: str = "transcribe",
        encoder_experts: bool = True,
        decoder_experts: bool = True,
        **kwargs,
    ):
        """Puts new experts, copies of the shared feed-forwards, on a plain Whisper. Untrained, they change no output.

        Args:
            pretrained_model_name_or_path: folder or Hub id of a multilingual Whisper.
            languages: names of the languages that get experts: Whisper's codes, or BCP 47 tags of others.
            init_from: name of a language that Whisper has no token for -> the languages whose token its own starts as,
                as for `add_language`.
            gate_budget, gate_budgets, skip_gate_prob, gate_dim, gate_training, gate_noise_max, gate_dropout,
                expert_dropout, expert_rank, expert_task, encoder_experts, decoder_experts: as in `DistilWhisperConfig`.
            kwargs: as for `WhisperForConditionalGeneration.from_pretrained`: `dtype`, `device_map`, `revision`, ...

        Returns:
            The model, in evaluation mode. The backbone is frozen: only experts and gates ask for gradients.

        Raises:
            ValueError: a code that this Whisper does not know, a setting out of its range, or a backbone that is not a
                multilingual Whisper.

        Example:
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(
            ...     "examples/quickstart/student", languages=["ca", "gl"], expert_rank=8
            ... )
            >>> model.config.languages
            ['ca', 'gl']
            >>> sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
            195328
        """
        name = str(pretrained_model_name_or_path)
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        # Not passed to the config, which would take them for its settings.
        dtype = {key: kwargs.pop(key) for key in ("dtype", "torch_dtype") if key in kwargs}
        whisper = config_of(name, hub)
        if whisper.get("model_type") != "whisper":
            raise ValueError(f"{name} is a {whisper.get('model_type')!r}, expected a plain Whisper ('whisper').")
        whisper = WhisperConfig.from_dict(whisper).to_dict()
        settings = {key: value for key, value in whisper.items() if key not in ("model_type", "architectures")}
        settings |= base_model_settings(name, hub)
        settings |= {
            "gate_budget": gate_budget,
            "gate_budgets": gate_budgets,
            "skip_gate_prob": skip_gate_prob,
            "gate_dim": gate_dim,
            "gate_training": gate_training,
            "gate_noise_max": gate_noise_max,
            "gate_dropout": gate_dropout,
            "expert_dropout": expert_dropout,
            "expert_rank": expert_rank,
            "expert_task": expert_task,
            "encoder_experts": encoder_experts,
            "decoder_experts": decoder_experts,
        }
        with explained_settings(name):
            config, kwargs = DistilWhisperConfig.from_dict(settings, return_unused_kwargs=True, **(kwargs | hub))
        kwargs.setdefault("use_safetensors", not has_only_pickled_weights(name, kwargs.get("variant"), hub))
        with checked_backbone(name, config, kwargs.get("variant"), hub):
            loaded = super().from_pretrained(name, config=config, **dtype, **kwargs)
        model = _model_of(loaded)
        _keep_generation_config(model, name, hub)
        model.config.translate_token_id = (getattr(model.generation_config, "task_to_id", None) or {}).get("translate")
        languages = language_names(languages)
        starts = {language_name(language): start for language, start in (init_from or {}).items()}
        if unused := sorted(starts.keys() - {*languages}):
            raise ValueError(f"`init_from` names {unused}, which are not among the languages: {languages}.")
        for language in languages:
            model.add_language(language, starts.get(language))
        model.freeze_backbone()
        return loaded

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args,
        config: PreTrainedConfig | str | os.PathLike | None = None,
        languages: list[str] | None = None,
        **kwargs,
    ):
        """Loads a DistilWhisper with the experts of some or all of its languages.

        Args:
            pretrained_model_name_or_path: folder or Hub id. Without `model.safetensors` in it, the backbone comes from
                the config's `base_model_name_or_path`. `None`: all comes from `config` and `state_dict`.
            config: used instead of the saved config.
            languages: experts to load; only their files are fetched and opened. Default: all that the config lists;
                `[]`: none, plain Whisper.
            model_args, kwargs: as for any `from_pretrained` of Transformers: `dtype`, `device_map`, `revision`, ...;
                settings of the config replace those that are saved.

        Returns:
            The model, in evaluation mode. The backbone is frozen: only experts and gates ask for gradients.

        Raises:
            OSError: an expert or the backbone is missing; the message lists what is there.
            ValueError: an expert that does not fit the backbone, or a checkpoint that is not a DistilWhisper.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration as Model
            >>> model = Model.from_whisper("examples/quickstart/student", languages=["ca", "gl"])
            >>> with TemporaryDirectory() as folder:
            ...     model.save_pretrained(folder)
            ...     galician = Model.from_pretrained(folder, languages=["gl"])
            >>> galician.config.languages
            ['gl']
        """
        if pretrained_model_name_or_path is None:
            return cls._from_state_dict(*model_args, config=config, languages=languages, **kwargs)
        name = str(pretrained_model_name_or_path)
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        asked = {"revision": hub.get("revision")}
        if (commit := commit_of_now(name, hub)) is not None:
            # All files of one commit, even if somebody pushes meanwhile.
            hub["revision"] = kwargs["revision"] = commit
        settings: Any = config
        if not isinstance(config, PreTrainedConfig):
            dtype = {key: kwargs.pop(key) for key in ("dtype", "torch_dtype") if key in kwargs}
            with explained_settings(str(config or name)):
                settings, kwargs = DistilWhisperConfig.from_pretrained(
                    require_distilwhisper(str(config or name), hub), return_unused_kwargs=True, **kwargs
                )
            kwargs |= hub | dtype
        if not hasattr(type(settings), "experts_by_token"):
            raise ValueError(f"Expected a DistilWhisperConfig, got a {type(settings).__name__}.")
        codes = settings.languages if languages is None else languages
        if codes is None:  # an Auto class got `languages=None`, which replaced the saved list
            codes = WhisperConfig.get_config_dict(name, **hub)[0].get("languages", [])
        languages = language_names(codes)

        # Transformers loads the backbone, and then each language's experts come from their own file.
        without_experts = copy.deepcopy(settings)
        without_experts.languages, without_experts.detection_languages = [], []  # each file says whether it has a row
        kwargs.setdefault("use_safetensors", True)  # else a pickle may be loaded where the base model is meant
        if has_weights(name, kwargs.get("variant"), hub) or kwargs["use_safetensors"] is False:
            with checked_backbone(name, without_experts, kwargs.get("variant"), hub):
                loaded = super().from_pretrained(name, *model_args, config=without_experts, **kwargs)
            _keep_generation_config(_model_of(loaded), name, hub)
            loaded_config = _model_of(loaded).config
            if loaded_config.base_model_name_or_path is None:  # saved without it: the backbone is here
                loaded_config.update(base_model_settings(name, hub | asked))
        else:
            loaded = cls._from_base_model(name, *model_args, config=without_experts, **kwargs)
            _keep_generation_config(_model_of(loaded), name, hub, replace=True)
        model = _model_of(loaded)
        model._name_tokens()
        model.loaded_commit = commit
        if isinstance(
            loaded, tuple
        ):  # the caller learns of weights that no file had; experts are not held against them
            prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
            missing = {key.removeprefix(prefix) for key in loaded[1]["missing_keys"]}
            model.base_model.missing_in_checkpoint = frozenset(missing)
        for language in languages:
            model.load_experts(name, language, **hub)
        model.freeze_backbone()
        model.eval()
        return loaded

    @classmethod
    def _from_state_dict(cls, *model_args, config: Any, languages: list[str] | None, **kwargs):
        """Makes a model of a config and the tensors of `state_dict` alone, as `state_dict()` returns them.

        Raises:
            ValueError: there is no config or no state dict, or it lacks a tensor of the experts.
        """
        tensors = kwargs.get("state_dict")
        if not hasattr(type(config), "experts_by_token") or tensors is None:
            raise ValueError(
                "Without a name of a model, expected `config`, a DistilWhisperConfig, and `state_dict`, its tensors; "
                f"got a {type(config).__name__} and {'no state dict' if tensors is None else 'a state dict'}."
            )
        config = copy.deepcopy(config)
        if languages is not None:
            config.languages = language_names(languages)
        detected = config.detection_languages or []
        config.detection_languages = [name for name in detected if name in (config.languages or [])]
        of_experts = {key for key in tensors if ".experts." in key}
        loaded = super().from_pretrained(None, *model_args, config=config, **kwargs)
        model = _model_of(loaded)
        model._name_tokens()
        missing = sorted(key for key in model.state_dict() if ".experts." in key and key not in of_experts)
        if missing:
            raise ValueError(f"The state dict has no {missing[0]}. Expected all tensors of {config.languages}.")
        model.freeze_backbone()
        return loaded

    @classmethod
    def _from_base_model(cls, name: str, *model_args, config: DistilWhisperConfig, **kwargs):
        """Loads the backbone that the config of `name` names."""
        base = config.base_model_name_or_path
        if base is None:
            raise OSError(
                f"{name} holds no {SAFE_WEIGHTS_NAME}, and its config names no `base_model_name_or_path` to take "
                "the backbone from. Save it with the backbone, or set that name in config.json."
            )
        elsewhere = _of_base_model(config, kwargs)
        # The Auto classes add where to look for an adapter: in the commit of the experts' repository.
        elsewhere["adapter_kwargs"] = {**(kwargs.get("adapter_kwargs") or {})}
        elsewhere["adapter_kwargs"].pop("revision", None)
        place = {key: elsewhere[key] for key in HUB_ARGUMENTS if key in elsewhere}
        try:
            if has_only_pickled_weights(base, kwargs.get("variant"), place):
                elsewhere["use_safetensors"] = False
            with checked_backbone(base, config, elsewhere.get("variant"), place):
                loaded = super().from_pretrained(base, *model_args, config=config, **elsewhere)
        except (OSError, HFValidationError) as error:  # the latter for a folder that is gone
            raise OSError(
                f"{name} holds experts alone, and its backbone, {base}, could not be loaded ({error}). Set "
                "`base_model_name_or_path` in config.json to where that Whisper is."
            ) from error
        _keep_generation_config(_model_of(loaded), base, place)
        return loaded


def _model_of(loaded: Any) -> Any:
    """The model in what `from_pretrained` returns, which is a tuple with `output_loading_info=True`."""
    return loaded[0] if isinstance(loaded, tuple) else loaded


def _keep_generation_config(model: PreTrainedModel, name: str, hub: dict, *, replace: bool = False) -> None:
    """Gives a model the generation config of `name`, if there is one, and completes it from the tokenizer there.

    Transformers does the first for models that generate. A model without a head needs it too: it names the languages'
    tokens, and a model with a head that is loaded from the saved files generates with it.

    Args:
        replace: also replace that of a model that generates.
    """
    if (replace or not model.can_generate()) and has_one_of(name, [GENERATION_CONFIG_NAME], hub):
        model.generation_config = GenerationConfig.from_pretrained(name, **hub)
    settings = getattr(model, "generation_config", None) or GenerationConfig.from_model_config(model.config)
    settings = complete_generation_config(settings, model.config, name, hub)
    if (base := model.config.base_model_name_or_path) not in (None, name):
        settings = complete_generation_config(settings, model.config, base, _of_base_model(model.config, hub))
    model.generation_config = settings


def _of_base_model(config: DistilWhisperConfig, hub: dict) -> dict:
    """Where the backbone is in its repository, from where something else is in its own."""
    where = {"revision": config.base_model_revision, "subfolder": config.base_model_subfolder}
    rest = {key: value for key, value in hub.items() if key not in where}
    return rest | {key: value for key, value in where.items() if value is not None}


__all__ = ["LoadingMixin"]
