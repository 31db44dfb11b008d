"""The experts of a model: added, loaded a language at a time, and removed."""

import copy
import os
from threading import RLock
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import cached_file

from .configuration_distilwhisper import DistilWhisperConfig, check_language_code
from .expert_file_distilwhisper import expert_file_name, opened_expert_file
from .expert_layers_distilwhisper import LanguageExpert
from .languages_distilwhisper import known_languages
from .repository_distilwhisper import check_hub_arguments, languages_in
from .routing_distilwhisper import RoutedFeedForward

LayerKey = tuple[str, int]  # "encoder" or "decoder", and the layer's index
_CHANGES = RLock()  # one thread at a time adds or removes a language


class LanguageExpertsMixin(PreTrainedModel):
    """Adding, loading and removing the experts of a model.

    Needs from its class: a Transformers model of Whisper's layout (`base_model.encoder.layers` and
    `base_model.decoder.layers`, with a `RoutedFeedForward` in each), a `DistilWhisperConfig` as `config`, and
    Whisper's generation config, which names the languages' tokens, as `generation_config`.
    """

    config: DistilWhisperConfig

    def add_language(self, language: str) -> None:
        """Makes a new expert for `language` in every layer: a copy of the shared feed-forward, its gate fully open.

        Args:
            language: one of Whisper's codes.

        Raises:
            ValueError: the language has an expert already, or the backbone's vocabulary has no token for it.

        Example:
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> model.add_language("gl")
            >>> model.config.languages
            ['ca', 'gl']
        """
        experts = self._make_experts(language, self.config)
        for key, layer in self.routed_layers().items():
            experts[key].fc1.copy_shared(layer.fc1)
            experts[key].fc2.copy_shared(layer.fc2)
        self._install(language, experts)

    def load_experts(
        self,
        repo_or_dir: str | os.PathLike,
        language: str,
        **hub_arguments,
    ) -> None:
        """Adds the experts of `language` from the file `expert.<language>.safetensors` of a folder or Hub repository.

        Args:
            repo_or_dir: folder or Hub id.
            language: the code.
            hub_arguments: some of `cache_dir`, `force_download`, `local_files_only`, `token`, `revision` and
                `subfolder`, as for any `from_pretrained` of Transformers.

        Raises:
            OSError: there is no such file; the message lists the languages that are there.
            ValueError: the language is loaded already, or the file is not this backbone's.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration as Model
            >>> catalan = Model.from_whisper("examples/quickstart/student", languages=["ca"])
            >>> galician = Model.from_whisper("examples/quickstart/student", languages=["gl"])
            >>> with TemporaryDirectory() as folder:
            ...     paths = galician.save_experts(folder)
            ...     catalan.load_experts(folder, "gl")
            >>> catalan.config.languages
            ['ca', 'gl']
        """
        hub = check_hub_arguments(hub_arguments)
        self._install(language, self._read_experts(repo_or_dir, language, hub))

    def reload_experts(
        self,
        repo_or_dir: str | os.PathLike,
        languages: list[str] | None = None,
        **hub_arguments,
    ) -> None:
        """Replaces the weights of loaded experts by those of the files in `repo_or_dir`, as a resumed training needs.

        Args:
            repo_or_dir: folder or Hub id.
            languages: codes; by default of all languages that are loaded.
            hub_arguments: as for `load_experts`.

        Raises:
            OSError, ValueError: as `load_experts`.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> with TemporaryDirectory() as folder:
            ...     paths = model.save_experts(folder)
            ...     bias = model.experts_of("ca")["encoder", 0].fc2.bias.data.fill_(7)
            ...     model.reload_experts(folder)
            >>> bool((bias == 7).any())
            False
        """
        hub = check_hub_arguments(hub_arguments)
        for language in self._languages if languages is None else languages:
            loaded = self.experts_of(language)
            experts = self._read_experts(repo_or_dir, language, hub)
            for key, expert in loaded.items():
                expert.load_state_dict(experts[key].state_dict())

    def remove_language(self, language: str) -> None:
        """Removes the experts of `language` from the model; its rows then run as plain Whisper.

        Raises:
            ValueError: no expert of this language is loaded.

        Example:
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(
            ...     "examples/quickstart/student", languages=["ca", "gl"]
            ... )
            >>> model.remove_language("ca")
            >>> model.config.languages
            ['gl']
        """
        with _CHANGES:
            self._require_loaded(language)
            self.config.languages = [other for other in self._languages if other != language]
            for layer in self.routed_layers().values():
                layer.set_experts({code: expert for code, expert in layer.experts.items() if code != language})

    def freeze_backbone(self) -> None:
        """Freezes everything but experts and gates (section 4.2)."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(".experts." in name)

    def routed_layers(self) -> dict[LayerKey, RoutedFeedForward]:
        """Every layer that has experts, by side and index: `("encoder", 0)` and so on."""
        model: Any = self.base_model
        sides = {"encoder": model.encoder, "decoder": model.decoder}
        return {
            (name, layer.layer_idx): layer for name, side in sides.items() if side.has_experts for layer in side.layers
        }

    def experts_of(self, language: str) -> dict[LayerKey, LanguageExpert]:
        """The experts of a language, by side and layer.

        Raises:
            ValueError: no expert of this language is loaded.

        Example:
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> list(model.experts_of("ca"))[:2]
            [('encoder', 0), ('encoder', 1)]
        """
        self._require_loaded(language)
        return {key: layer.expert_of(language) for key, layer in self.routed_layers().items()}

    def _make_experts(self, language: str, config: DistilWhisperConfig) -> dict[LayerKey, LanguageExpert]:
        """Experts with random weights, of the rank and gate width in `config`."""
        check_language_code(language)
        return {key: LanguageExpert(config, layer.expert_ffn_dim) for key, layer in self.routed_layers().items()}

    def _read_experts(self, repo_or_dir: str | os.PathLike, language: str, hub: dict) -> dict[LayerKey, LanguageExpert]:
        file_name = expert_file_name(language)
        try:
            path = cached_file(str(repo_or_dir), file_name, _raise_exceptions_for_missing_entries=False, **hub)
        except (OSError, ValueError) as error:
            raise OSError(
                f"{repo_or_dir} is neither a folder nor a reachable Hub repository with experts ({error})."
            ) from error
        if path is None:
            available = languages_in(repo_or_dir, **hub)
            if language in available:  # by its config, which may come from the cache
                raise OSError(
                    f"{repo_or_dir} lists {language!r}, but {file_name} could not be fetched and is not in the cache. "
                    "Is there a network, and is the file still there?"
                )
            listed = ", ".join(available) or "none"
            raise OSError(f"{repo_or_dir} has no {file_name}. Languages it has experts for: {listed}.")
        with opened_expert_file(path, language, self) as file:
            config = copy.deepcopy(self.config)
            config.expert_rank, config.gate_dim = file.rank, file.gate_dim
            with torch.device("meta"):  # no memory: what the file holds is checked first, and then becomes the experts
                experts = self._make_experts(language, config)
            tensors = file.read(expert_tensors(language, experts))
        for key, expert in experts.items():
            prefix = _prefix(key, language)
            state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            expert.load_state_dict(state, assign=True)
        return experts

    def _install(self, language: str, experts: dict[LayerKey, LanguageExpert]) -> None:
        """Gives each layer its expert. The config lists the language last: then calls in other threads may take it."""
        with _CHANGES:
            lang_to_id = getattr(self.generation_config, "lang_to_id", None) or {}
            token_ids = self.config.language_token_ids or {}
            token = lang_to_id.get(f"<|{language}|>", token_ids.get(language))
            if token is None:
                known = ", ".join(sorted(known_languages(self)))
                raise ValueError(f"This Whisper has no language {language!r}. Expected one of: {known}.")
            if language in self._languages:
                raise ValueError(
                    f"Experts of {language!r} are loaded already. To replace them, `remove_language` first."
                )
            for key, layer in self.routed_layers().items():
                norm = layer.final_layer_norm.weight  # quantised weights have another dtype
                expert = experts[key].to(device=norm.device, dtype=norm.dtype).train(self.training)
                layer.set_experts({**layer.experts, language: expert})
            self.config.language_token_ids = token_ids | {language: token}
            self.config.languages = [*self._languages, language]

    @property
    def _languages(self) -> list[str]:
        """Codes of the languages whose experts are loaded."""
        return list(self.config.languages or [])

    def _require_loaded(self, language: str) -> None:
        if language not in self._languages:
            loaded = ", ".join(self._languages) or "none"
            raise ValueError(f"No expert of {language!r} is loaded. Loaded: {loaded}.")


def _prefix(key: LayerKey, language: str) -> str:
    side, index = key
    return f"model.{side}.layers.{index}.experts.{language}."


def expert_tensors(language: str, experts: dict[LayerKey, LanguageExpert]) -> dict[str, torch.Tensor]:
    """The tensors of a language under the names that they have in its file."""
    return {
        _prefix(key, language) + name: tensor
        for key, expert in experts.items()
        for name, tensor in expert.state_dict().items()
    }


__all__ = ["LanguageExpertsMixin", "expert_tensors"]
