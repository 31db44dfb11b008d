"""The experts of a model: made on a plain Whisper, loaded a language at a time, removed, and saved."""

import copy
import os
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedConfig, WhisperConfig
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import GENERATION_CONFIG_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.hub import resolve_revision

from .configuration_distilwhisper import DistilWhisperConfig, check_language_code, check_language_codes
from .expert_file_distilwhisper import check_tensors, expert_file_name, read_expert_file, write_expert_file
from .hub_distilwhisper import HUB_ARGUMENTS, has_weights, languages_in, require_distilwhisper
from .routing_distilwhisper import LanguageExpert, RoutedFeedForward


class LanguageExpertsMixin:
    """Making, loading, removing and saving the experts of a `DistilWhisperForConditionalGeneration`."""

    @classmethod
    def from_whisper(cls, pretrained_model_name_or_path: str | os.PathLike, languages: list[str], **kwargs):
        """Puts new experts, copies of the shared feed-forwards, on a plain Whisper. They change no output yet.

        Args:
            pretrained_model_name_or_path: folder or Hub id of a multilingual Whisper.
            languages: codes of the languages that get experts.
            kwargs: settings of `DistilWhisperConfig`; anything else goes to `from_pretrained`.

        Raises:
            ValueError: a code that this Whisper does not know, or a backbone that is not a multilingual Whisper.
        """
        name = str(pretrained_model_name_or_path)
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        dtype = {key: kwargs.pop(key) for key in ("dtype", "torch_dtype") if key in kwargs}
        found, _ = WhisperConfig.get_config_dict(name, **hub)
        if found.get("model_type") != "whisper":
            raise ValueError(f"{name} is a {found.get('model_type')!r}, expected a plain Whisper ('whisper').")
        whisper = WhisperConfig.from_dict(found).to_dict()
        settings = {key: value for key, value in whisper.items() if key not in ("model_type", "architectures")}
        folder = Path(name, hub.get("subfolder") or "")
        if folder.is_dir():
            settings["base_model_name_or_path"] = str(folder.resolve())
        else:
            settings |= {"base_model_name_or_path": name, "base_model_revision": hub.get("revision")}
            settings["base_model_subfolder"] = hub.get("subfolder")
        config, kwargs = DistilWhisperConfig.from_dict(settings, return_unused_kwargs=True, **(kwargs | hub))
        kwargs.setdefault("use_safetensors", True)
        loaded = super().from_pretrained(name, config=config, **dtype, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.config.translate_token_id = (getattr(model.generation_config, "task_to_id", None) or {}).get("translate")
        for language in check_language_codes(languages):
            model.add_language(language)
        model.freeze_backbone()
        return loaded

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *model_args,
        config: DistilWhisperConfig | None = None,
        languages: list[str] | None = None,
        **kwargs,
    ):
        """Loads a DistilWhisper with the experts of some or all of its languages.

        Args:
            pretrained_model_name_or_path: folder or Hub id. Without `model.safetensors` in it, the backbone comes from
                the config's `base_model_name_or_path`.
            languages: experts to load; only their files are fetched and opened. Default: all that the config lists;
                `[]`: none, plain Whisper.
            kwargs: as for any `from_pretrained` of Transformers.

        The backbone comes frozen: only experts and gates ask for gradients.

        Raises:
            OSError: an expert or the backbone is not there; the message says what is.
            ValueError: an expert that does not fit the backbone, or a checkpoint that is not a DistilWhisper.
        """
        name = str(pretrained_model_name_or_path)
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        where = {key: hub[key] for key in ("revision", "token", "cache_dir", "local_files_only") if key in hub}
        if (revision := resolve_revision(name, **where)) is not None:
            hub["revision"] = kwargs["revision"] = revision  # all files of one commit, whatever is pushed meanwhile
        if not isinstance(config, PreTrainedConfig):
            dtype = {key: kwargs.pop(key) for key in ("dtype", "torch_dtype") if key in kwargs}
            config, kwargs = DistilWhisperConfig.from_pretrained(
                require_distilwhisper(config or name, hub), return_unused_kwargs=True, **kwargs
            )
            kwargs |= hub | dtype
        if not hasattr(type(config), "experts_by_token"):
            raise ValueError(f"Expected a DistilWhisperConfig, got a {type(config).__name__}.")
        if languages is None:
            languages = config.languages
        if languages is None:  # as `AutoModelForSpeechSeq2Seq` hands on `languages=None`
            languages = WhisperConfig.get_config_dict(name, **hub)[0].get("languages", [])
        languages = check_language_codes(languages)

        bare = copy.deepcopy(config)
        bare.languages = []
        kwargs.setdefault("use_safetensors", True)
        if has_weights(name, kwargs.get("variant"), hub) or kwargs["use_safetensors"] is False:
            loaded = super().from_pretrained(name, *model_args, config=bare, **kwargs)
            model = loaded[0] if isinstance(loaded, tuple) else loaded
        else:
            loaded = cls._from_base_model(name, *model_args, config=bare, **kwargs)
            model = loaded[0] if isinstance(loaded, tuple) else loaded
            if cached_file(name, GENERATION_CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **hub):
                model.generation_config = GenerationConfig.from_pretrained(name, **hub)
        for language in languages:
            model.load_experts(name, language, **hub)
        model.freeze_backbone()
        model.eval()
        return loaded

    @classmethod
    def _from_base_model(cls, name: str, *model_args, config: DistilWhisperConfig, **kwargs):
        base = config.base_model_name_or_path
        if base is None:
            raise OSError(
                f"{name} holds no {SAFE_WEIGHTS_NAME}, and its config names no `base_model_name_or_path` to take "
                "the backbone from. Save it with the backbone, or set that name in config.json."
            )
        elsewhere = {key: value for key, value in kwargs.items() if key not in ("revision", "subfolder")}
        # The Auto classes add where to look for an adapter: in the commit of the experts' repository.
        elsewhere["adapter_kwargs"] = {**(kwargs.get("adapter_kwargs") or {})}
        elsewhere["adapter_kwargs"].pop("revision", None)
        if config.base_model_revision is not None:
            elsewhere["revision"] = config.base_model_revision
        if config.base_model_subfolder is not None:
            elsewhere["subfolder"] = config.base_model_subfolder
        try:
            return super().from_pretrained(base, *model_args, config=config, **elsewhere)
        except OSError as error:
            raise OSError(
                f"{name} holds experts alone, and its backbone, {base}, could not be loaded ({error}). Set "
                "`base_model_name_or_path` in config.json to where that Whisper is."
            ) from error

    def add_language(self, language: str) -> None:
        """Makes a new expert for `language` in every layer: a copy of the shared feed-forward, its gate fully open.

        Raises:
            ValueError: the language has an expert already, or the backbone's vocabulary has no token for it.
        """
        self._install(language, _experts(self, language, self.config))
        for layer in self.routed_layers().values():
            expert = layer.experts[language]
            expert.fc1.copy_shared(layer.fc1)
            expert.fc2.copy_shared(layer.fc2)

    def load_experts(self, repo_or_dir: str | os.PathLike, language: str, **hub_arguments) -> None:
        """Adds the experts of `language` from the file `expert.<language>.safetensors` of a folder or Hub repository.

        Raises:
            OSError: there is no such file; the message lists the languages that are there.
            ValueError: the language is loaded already, or the file is not this backbone's.
        """
        self._install(language, self._read_experts(repo_or_dir, language, **hub_arguments))

    def reload_experts(
        self, repo_or_dir: str | os.PathLike, languages: list[str] | None = None, **hub_arguments
    ) -> None:
        """Puts the weights of the files in `repo_or_dir` into experts that are loaded, as a resumed training needs.

        Args:
            languages: whose; by default all that are loaded.

        Raises:
            OSError, ValueError: as `load_experts`.
        """
        for language in self.config.languages if languages is None else languages:
            loaded = self.experts_of(language)
            experts = self._read_experts(repo_or_dir, language, **hub_arguments)
            for place, expert in loaded.items():
                expert.load_state_dict(experts[place].state_dict())

    def remove_language(self, language: str) -> None:
        """Takes the experts of `language` out of the model; its rows then run as plain Whisper.

        Raises:
            ValueError: no expert of this language is loaded.
        """
        self._require_loaded(language)
        for layer in self.routed_layers().values():
            del layer.experts[language]
        self.config.languages = [other for other in self.config.languages if other != language]

    def save_experts(
        self,
        save_directory: str | os.PathLike,
        languages: list[str] | None = None,
        state_dict: dict[str, torch.Tensor] | None = None,
        int8: bool = False,
    ) -> list[Path]:
        """Writes `expert.<language>.safetensors` for each of `languages` (default: all loaded) and returns the paths.

        A file is written aside and then renamed, so that an interruption leaves the old one whole.

        Args:
            state_dict: taken instead of the model's own tensors, under the same names.
            int8: store matrices as 8-bit integers with a scale a row, a quarter of the size of float32. In a model that
                loads them they are numbers of its own precision again.
        """
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for language in self.config.languages if languages is None else check_language_codes(languages):
            experts = self.experts_of(language)
            tensors = _tensors(language, experts)
            if state_dict is not None:
                tensors = {key: state_dict[key] for key in tensors}
            some = next(iter(experts.values()))
            rank = getattr(getattr(some.fc1, "up", None), "in_features", 0)
            path = directory / expert_file_name(language)
            gate_dim = some.gate.hidden.out_features
            write_expert_file(path, language, tensors, self, rank=rank, gate_dim=gate_dim, int8=int8)
            paths.append(path)
        return paths

    def save_pretrained(self, save_directory: str | os.PathLike, *, save_backbone: bool = True, **kwargs) -> None:
        """Writes config, plain Whisper weights, remote code, and a file of experts for each language.

        Args:
            save_backbone: whether `model.safetensors` is written. Without it, loading takes the backbone from the
                config's `base_model_name_or_path`.
            kwargs: as for `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: `push_to_hub` without the backbone.
        """
        if kwargs.get("push_to_hub") and not save_backbone:
            raise ValueError(
                "`push_to_hub` needs `save_backbone=True`. For experts alone there is `push_experts_to_hub`."
            )
        state_dict = kwargs.pop("state_dict", None)
        if kwargs.get("is_main_process", True):
            self.save_experts(save_directory, state_dict=state_dict)
        if save_backbone:
            card = Path(save_directory, "README.md")
            self._own_card = card.read_text(encoding="utf-8") if kwargs.get("push_to_hub") and card.is_file() else None
            state_dict = self.state_dict() if state_dict is None else state_dict
            plain = {key: tensor for key, tensor in state_dict.items() if ".experts." not in key}
            super().save_pretrained(save_directory, state_dict=plain, **kwargs)
        elif kwargs.get("is_main_process", True):
            self._save_without_weights(save_directory, self.config.languages)

    def _save_without_weights(self, save_directory: str | os.PathLike, languages: list[str]) -> None:
        config = copy.deepcopy(self.config)
        config.languages = list(languages)
        config.architectures = [type(self).__name__]
        vars(config).pop("quantization_config", None)  # of a backbone that is not here: each loading chooses anew
        custom_object_save(self, save_directory, config=config)
        config.save_pretrained(save_directory)
        self.generation_config.save_pretrained(save_directory)

    def freeze_backbone(self) -> None:
        """Leaves gradients to the experts and gates alone: "everything else is frozen" (section 4.2)."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(".experts." in name)

    def routed_layers(self) -> dict[tuple[str, int], RoutedFeedForward]:
        """Every layer that has experts, by side and index: `("encoder", 0)` and so on."""
        sides = {"encoder": self.model.encoder, "decoder": self.model.decoder}
        return {(side, layer.layer_idx): layer for side, module in sides.items() for layer in module.layers}

    def experts_of(self, language: str) -> dict[tuple[str, int], LanguageExpert]:
        """The experts of a language, by side and layer.

        Raises:
            ValueError: no expert of this language is loaded.
        """
        self._require_loaded(language)
        return {place: layer.experts[language] for place, layer in self.routed_layers().items()}

    def _read_experts(self, repo_or_dir, language: str, **hub_arguments) -> dict[tuple[str, int], LanguageExpert]:
        file_name = expert_file_name(language)
        try:
            path = cached_file(
                str(repo_or_dir), file_name, _raise_exceptions_for_missing_entries=False, **hub_arguments
            )
        except (OSError, ValueError) as error:
            raise OSError(
                f"{repo_or_dir} is neither a folder nor a reachable Hub repository with experts ({error})."
            ) from error
        if path is None:
            has = languages_in(repo_or_dir, **hub_arguments)
            if language in has:  # so says its config, which may come from the cache
                raise OSError(
                    f"{repo_or_dir} lists {language!r}, but {file_name} could not be fetched and is not in the cache. "
                    "Is there a network, and is the file still there?"
                )
            listed = ", ".join(has) or "none"
            raise OSError(f"{repo_or_dir} has no {file_name}. Languages it has experts for: {listed}.")
        tensors, rank, gate_dim = read_expert_file(path, language, self)
        config = copy.deepcopy(self.config)
        config.expert_rank, config.gate_dim = rank, gate_dim
        experts = _experts(self, language, config)
        check_tensors(path, tensors, _tensors(language, experts))
        for (side, index), expert in experts.items():
            prefix = _prefix(side, index, language)
            expert.load_state_dict(
                {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            )
        return experts

    def _install(self, language: str, experts: dict[tuple[str, int], LanguageExpert]) -> None:
        lang_to_id = getattr(self.generation_config, "lang_to_id", None) or {}
        token = lang_to_id.get(f"<|{language}|>", self.config.language_token_ids.get(language))
        if token is None:
            known = ", ".join(sorted(code.strip("<|>") for code in lang_to_id)) or "none, it is not multilingual"
            raise ValueError(f"This Whisper has no language {language!r}. Expected one of: {known}.")
        if language in self.config.languages:
            raise ValueError(f"Experts of {language!r} are loaded already. To replace them, `remove_language` first.")
        for place, layer in self.routed_layers().items():
            where = layer.final_layer_norm.weight
            layer.experts[language] = experts[place].to(device=where.device, dtype=where.dtype).train(self.training)
        self.config.languages = [*self.config.languages, language]
        self.config.language_token_ids = self.config.language_token_ids | {language: token}

    def _require_loaded(self, language: str) -> None:
        if language not in self.config.languages:
            has = ", ".join(self.config.languages) or "none"
            raise ValueError(f"No expert of {language!r} is loaded. Loaded: {has}.")


def _experts(model, language: str, config: DistilWhisperConfig) -> dict[tuple[str, int], LanguageExpert]:
    check_language_code(language)
    return {place: LanguageExpert(config, layer.expert_ffn_dim) for place, layer in model.routed_layers().items()}


def _prefix(side: str, index: int, language: str) -> str:
    return f"model.{side}.layers.{index}.experts.{language}."


def _tensors(language: str, experts: dict[tuple[str, int], LanguageExpert]) -> dict[str, torch.Tensor]:
    return {
        _prefix(*place, language) + key: tensor
        for place, expert in experts.items()
        for key, tensor in expert.state_dict().items()
    }


__all__ = ["LanguageExpertsMixin"]
