"""A model with experts as files: a backbone, a file of experts for each language, config and code."""

import copy
import os
from pathlib import Path

import torch
from transformers.dynamic_module_utils import custom_object_save

from .configuration_distilwhisper import DistilWhisperConfig, check_language_codes
from .expert_file_distilwhisper import expert_file_name, write_expert_file
from .experts_distilwhisper import LanguageExpertsMixin, expert_tensors

# An entry of a checkpoint's config: the classes in its code, for Auto classes that run it.
AUTO_MAP = {
    "AutoModel": "modeling_distilwhisper.DistilWhisperModel",
    "AutoModelForSpeechSeq2Seq": "modeling_distilwhisper.DistilWhisperForConditionalGeneration",
}


class SavingMixin(LanguageExpertsMixin):
    """`save_pretrained` and `save_experts` of a model with experts. Needs what `LanguageExpertsMixin` needs."""

    _pushed_card: str | None = None  # text of the model card in a folder that `save_pretrained` is to push

    def save_experts(
        self,
        save_directory: str | os.PathLike,
        languages: list[str] | None = None,
        state_dict: dict[str, torch.Tensor] | None = None,
        int8: bool = False,
    ) -> list[Path]:
        """Writes `expert.<language>.safetensors` for each of `languages`.

        A file is written under another name and then renamed, so that an interruption leaves the old file complete.

        Args:
            save_directory: folder; made if it does not exist.
            languages: codes; by default of all languages that are loaded.
            state_dict: taken instead of the model's tensors, under the same names.
            int8: store matrices as 8-bit integers with a scale for each row, a quarter of the size of float32. The
                model that loads them converts them to its precision.

        Returns:
            The paths, in the order of the languages.

        Raises:
            ValueError: no expert of one of the languages is loaded.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> with TemporaryDirectory() as folder:
            ...     [path.name for path in model.save_experts(folder)]
            ['expert.ca.safetensors']
        """
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for language in check_language_codes(self._languages if languages is None else languages):
            experts = self.experts_of(language)
            tensors = expert_tensors(language, experts)
            if state_dict is not None:
                # A model without a head has no prefix in front of its names; in the file all have one.
                prefix = "" if self.base_model is self else f"{self.base_model_prefix}."
                tensors = {key: state_dict[prefix + key.removeprefix("model.")] for key in tensors}
            path = directory / expert_file_name(language)
            first = next(iter(experts.values()))
            gate_dim = first.gate.hidden.out_features
            write_expert_file(path, language, tensors, self, rank=first.rank, gate_dim=gate_dim, int8=int8)
            paths.append(path)
        return paths

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        push_to_hub: bool = False,
        *args,
        save_backbone: bool = True,
        **kwargs,
    ) -> None:
        """Writes config, plain Whisper weights, remote code, and a file of experts for each language.

        Args:
            save_directory: folder; made if it does not exist.
            is_main_process: whether this process writes files that every process has.
            state_dict: taken instead of the model's tensors, under the same names.
            push_to_hub: push the folder after saving it.
            save_backbone: whether `model.safetensors` is written. Without it, loading takes the backbone from the
                config's `base_model_name_or_path`.
            args, kwargs: as for `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: `push_to_hub` without the backbone.

        Example:
            >>> from pathlib import Path
            >>> from tempfile import TemporaryDirectory
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> with TemporaryDirectory() as folder:
            ...     model.save_pretrained(folder)
            ...     sorted(path.name for path in Path(folder).glob("*.safetensors"))
            ['expert.ca.safetensors', 'model.safetensors']
        """
        if push_to_hub and not save_backbone:
            raise ValueError(
                "`push_to_hub` needs `save_backbone=True`. For experts alone there is `push_experts_to_hub`."
            )
        if is_main_process:
            self.save_experts(save_directory, state_dict=state_dict)
        if save_backbone:
            self._name_auto_classes(self.config)
            card = Path(save_directory, "README.md")
            self._pushed_card = card.read_text(encoding="utf-8") if push_to_hub and card.is_file() else None
            state_dict = self.state_dict() if state_dict is None else state_dict
            backbone = {key: tensor for key, tensor in state_dict.items() if ".experts." not in key}
            if is_main_process and not self.can_generate() and self.generation_config is not None:
                self.generation_config.save_pretrained(save_directory)  # see `_keep_generation_config`
            super().save_pretrained(save_directory, is_main_process, backbone, push_to_hub, *args, **kwargs)
        elif is_main_process:
            self._save_without_weights(save_directory, self._languages)

    def _save_without_weights(self, save_directory: str | os.PathLike, languages: list[str]) -> None:
        """Writes all that a folder needs except experts and backbone: config, generation config and code."""
        config = copy.deepcopy(self.config)
        config.languages = list(languages)
        config.architectures = [type(self).__name__]
        config.__dict__.pop("quantization_config", None)  # it belongs to the backbone, which is not here
        self._name_auto_classes(config)
        custom_object_save(self, save_directory, config=config)  # type: ignore[arg-type]  # their annotation lacks configs
        config.save_pretrained(save_directory)
        if self.generation_config is not None:
            self.generation_config.save_pretrained(save_directory)

    def _name_auto_classes(self, config: DistilWhisperConfig) -> None:
        """Names both classes in a config that will be saved. Transformers names only the class that it saves."""
        config.auto_map = {**(getattr(config, "auto_map", None) or {}), **AUTO_MAP}


__all__ = ["SavingMixin"]
