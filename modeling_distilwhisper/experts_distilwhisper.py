"""The experts of a model: added, loaded a language at a time, and removed."""

import copy
import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers.utils import cached_file

from .configuration_distilwhisper import DistilWhisperConfig
from .expert_file_distilwhisper import expert_file_name, opened_expert_file
from .expert_layers_distilwhisper import LanguageExpert
from .language_modules_distilwhisper import LanguageModules, LanguageParts, LayerKey
from .language_tokens_distilwhisper import CHANGES, LanguageTokensMixin
from .repository_distilwhisper import check_hub_arguments, languages_in
from .routing_distilwhisper import RoutedFeedForward


class LanguageExpertsMixin(LanguageTokensMixin):
    """Adding, loading and removing the experts of a model.

    Needs from its class: a Transformers model of Whisper's layout (`base_model.encoder.layers` and
    `base_model.decoder.layers`, with a `RoutedFeedForward` in each), a `DistilWhisperConfig` as `config`, and
    Whisper's generation config, which names the languages' tokens, as `generation_config`.
    """

    config: DistilWhisperConfig

    def add_language(self, language: str, init_from: str | Mapping[str, float] | None = None) -> None:
        """Makes a new expert for `language` in every layer: a copy of the shared feed-forward, its gate fully open.

        A language that Whisper has no token for gets one of its own, which stands in prompts alone: no logit, time or
        detection of any other row changes.

        Args:
            language: one of Whisper's codes, or a BCP 47 tag: `ga`, `de-CH`, `en-x-clinic`.
            init_from: for a tag that Whisper has no token for, the languages whose token its embedding starts as: a
                code, or codes with weights, for their mean. Default: the language that the tag says more about (`de`
                for `de-CH`), or else the mean of all of Whisper's.

        Raises:
            ValueError: the language has an expert already; or `init_from` names a language that is not there, or is
                given for a language that Whisper has a token for.

        Example:
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> model.add_language("gl")
            >>> model.add_language("ga", init_from="cy")
            >>> model.config.languages
            ['ca', 'gl', 'ga']
        """
        language = self.language_called(language)
        weights = self._start_of_embedding(language, init_from)
        modules = self._make_modules(self.config, has_embedding=weights is not None, has_detection=False)
        for key, layer in self.routed_layers().items():
            modules.experts[key].fc1.copy_shared(layer.fc1)
            modules.experts[key].fc2.copy_shared(layer.fc2)
        if weights is not None and modules.parts is not None:
            assert modules.parts.embedding is not None
            modules.parts.embedding.data.copy_(self._mean_embedding(weights))
            if len(weights) < len(self._whisper_tokens()):
                modules.relative = max(weights, key=lambda relative: weights[relative])
        self._install(language, modules)

    def load_experts(
        self,
        repo_or_dir: str | os.PathLike,
        language: str,
        *,
        saved_as: str | None = None,
        **hub_arguments,
    ) -> None:
        """Adds the experts of `language` from the file `expert.<language>.safetensors` of a folder or Hub repository.

        Args:
            repo_or_dir: folder or Hub id.
            language: the name.
            saved_as: the name that the file has, if another: experts of a relative, to begin with. A language without
                a token of Whisper's then starts from the relative's token.
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
        language = self.language_called(language)
        source = language if saved_as is None else self.language_called(saved_as)
        modules = self._read_experts(repo_or_dir, source, hub)
        self._install(language, modules if source == language else self._under_another_name(modules, source, language))

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
        names = [*map(self.language_called, self._languages if languages is None else languages)]
        loaded = {name: self.modules_of(name) for name in names}
        read = {name: self._read_experts(repo_or_dir, name, hub) for name in names}  # checked before one changes
        for name, modules in read.items():
            for key, expert in loaded[name].experts.items():
                expert.load_state_dict(modules.experts[key].state_dict())
            self._replace_parts_of(name, modules.parts)

    def _replace_parts_of(self, language: str, parts: LanguageParts | None) -> None:
        """Replaces what a language has beside its layers. The embedding stays the parameter that an optimizer has."""
        before = self.modules_of(language).parts
        if before is not None and before.embedding is not None and parts is not None and parts.embedding is not None:
            before.embedding.data.copy_(parts.embedding)
            parts.embedding = before.embedding
        with CHANGES:
            others = {name: module for name, module in self._decoder.experts.items() if name != language}
            detected = [name for name in self.config.detection_languages or [] if name != language]
            if parts is not None:
                norm = self._decoder.layer_norm.weight
                others[language] = parts.to(norm.device, norm.dtype)
                detected += [language] if parts.detection_weight is not None else []
            self._decoder.set_experts(others)
            self.config.detection_languages = detected

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
        with CHANGES:
            language = self.language_called(language)
            self._require_loaded(language)
            self.config.languages = [other for other in self._languages if other != language]
            self.config.detection_languages = [
                other for other in self.config.detection_languages or [] if other != language
            ]
            relatives = self.config.language_relatives or {}
            self.config.language_relatives = {name: other for name, other in relatives.items() if name != language}
            self._name_tokens()
            for layer in (*self.routed_layers().values(), self._decoder):
                layer.set_experts({code: expert for code, expert in layer.experts.items() if code != language})

    def freeze_backbone(self) -> None:
        """Freezes everything but experts, gates and the embeddings of languages' own tokens (section 4.2).

        The biases of low-rank experts stay frozen too, as LoRA has none.
        """
        for name, parameter in self.named_parameters():
            frozen = ".detection_" in name or name.endswith(".up.bias")
            parameter.requires_grad_(".experts." in name and not frozen)

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
        language = self.language_called(language)
        self._require_loaded(language)
        return {key: layer.expert_of(language) for key, layer in self.routed_layers().items()}

    def modules_of(self, language: str) -> LanguageModules:
        """All modules of a language: the experts of its layers and, if it has any, its parts beside them.

        Raises:
            ValueError: no expert of this language is loaded.
        """
        language = self.language_called(language)
        experts = self.experts_of(language)
        parts: Any = dict(self._decoder.experts.items()).get(language)
        return LanguageModules(experts, parts, (self.config.language_relatives or {}).get(language))

    def _make_modules(self, config: DistilWhisperConfig, *, has_embedding: bool, has_detection: bool):
        """Modules of a language with random weights, of the rank and gate width in `config`."""
        experts = {key: LanguageExpert(config, layer.expert_ffn_dim) for key, layer in self.routed_layers().items()}
        if not (has_embedding or has_detection):
            return LanguageModules(experts)
        return LanguageModules(experts, LanguageParts(config.d_model, embedding=has_embedding, detection=has_detection))

    def _read_experts(self, repo_or_dir: str | os.PathLike, language: str, hub: dict) -> LanguageModules:
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
                modules = self._make_modules(
                    config,
                    has_embedding=language not in self._whisper_tokens(),
                    has_detection=file.has_detection(language),
                )
            tensors = file.read(modules.tensors(language))
            modules.relative = file.relative
        for prefix, module in modules.by_prefix(language).items():
            state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            module.load_state_dict(state, assign=True)
        return modules

    def _under_another_name(self, modules: LanguageModules, source: str, language: str) -> LanguageModules:
        """The experts of `source` for another language: what belongs to the name itself is that of the new one."""
        if language in self._whisper_tokens():
            return LanguageModules(modules.experts)
        if modules.parts is None or modules.parts.embedding is None:
            embedding = self._mean_embedding({source: 1.0})
        else:
            embedding = modules.parts.embedding.data
        parts = LanguageParts(self.config.d_model, embedding=True, detection=False)
        assert parts.embedding is not None
        parts.embedding.data.copy_(embedding)
        return LanguageModules(modules.experts, parts, source)

    def _install(self, language: str, modules: LanguageModules) -> None:
        """Gives each layer its expert. The config lists the language last: then calls in other threads may take it."""
        with CHANGES:
            if language in self._languages:
                raise ValueError(
                    f"Experts of {language!r} are loaded already. To replace them, `remove_language` first."
                )
            token = self._token_for(language)
            for key, layer in self.routed_layers().items():
                norm = layer.final_layer_norm.weight  # quantised weights have another dtype
                expert = modules.experts[key].to(device=norm.device, dtype=norm.dtype).train(self.training)
                layer.set_experts({**layer.experts, language: expert})
            config = self.config
            if modules.parts is not None:
                norm = self._decoder.layer_norm.weight
                parts = modules.parts.to(device=norm.device, dtype=norm.dtype)
                self._decoder.set_experts({**self._decoder.experts, language: parts})
                if parts.detection_weight is not None:
                    config.detection_languages = [*(config.detection_languages or []), language]
            relatives = {name: other for name, other in (config.language_relatives or {}).items() if name != language}
            config.language_relatives = relatives | ({language: modules.relative} if modules.relative else {})
            config.language_token_ids = {**(config.language_token_ids or {}), language: token}
            config.languages = [*self._languages, language]
            self._name_tokens()

    def _require_loaded(self, language: str) -> None:
        if language not in self._languages:
            loaded = ", ".join(self._languages) or "none"
            raise ValueError(f"No expert of {language!r} is loaded. Loaded: {loaded}.")


__all__ = ["LanguageExpertsMixin"]
