"""A model with experts as files: a backbone, a file of experts for each language, config and code."""

import copy
import os
import re
from collections.abc import Callable
from pathlib import Path

import torch
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from .configuration_distilwhisper import DistilWhisperConfig
from .expert_file_distilwhisper import expert_file_name, write_expert_file
from .experts_distilwhisper import LanguageExpertsMixin
from .files_distilwhisper import staged_folder
from .language_names_distilwhisper import language_names
from .names_distilwhisper import hide_paths
from .numbers_distilwhisper import check_numbers

# An entry of a checkpoint's config: the classes in its code, for Auto classes that run it.
AUTO_MAP = {
    "AutoModel": "modeling_distilwhisper.DistilWhisperModel",
    "AutoModelForSpeechSeq2Seq": "modeling_distilwhisper.DistilWhisperForConditionalGeneration",
}


# What `save_pretrained(push_to_hub=True)` takes for the push alone.
HUB_SETTINGS = ("repo_id", "commit_message", "commit_description", "private", "revision", "create_pr", "tags")
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")  # the name of a part of the weights


class SavingMixin(LanguageExpertsMixin):
    """`save_pretrained` and `save_experts` of a model with experts.

    Needs what `LanguageExpertsMixin` needs, and `_push_saved` of `PushExpertsMixin`.
    """

    _push_saved: Callable[..., None]

    def save_experts(
        self,
        save_directory: str | os.PathLike,
        languages: list[str] | None = None,
        state_dict: dict[str, torch.Tensor] | None = None,
        int8: bool = False,
    ) -> list[Path]:
        """Writes `expert.<language>.safetensors` for each of `languages`.

        All are written under other names and then renamed, so that an interruption leaves only complete files.

        Args:
            save_directory: folder; made if it does not exist.
            languages: codes; by default of all languages that are loaded.
            state_dict: taken instead of the model's tensors, under the same names.
            int8: store matrices as 8-bit integers with a scale for each row, a quarter of the size of float32. The
                model that loads them converts them to its precision.

        Returns:
            The paths, in the order of the languages.

        Raises:
            ValueError: no expert of one of the languages is loaded, or it holds numbers that are not finite.
            OSError: a file could not be written; the message says why.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from modeling_distilwhisper import DistilWhisperForConditionalGeneration
            >>> student = "examples/quickstart/student"
            >>> model = DistilWhisperForConditionalGeneration.from_whisper(student, languages=["ca"])
            >>> with TemporaryDirectory() as folder:
            ...     [path.name for path in model.save_experts(folder)]
            ['expert.ca.safetensors']
        """
        languages = [*map(self.language_called, language_names(self._languages if languages is None else languages))]
        with staged_folder(save_directory) as staged:
            for language in languages:
                modules = self.modules_of(language)
                tensors = modules.tensors(language)
                if state_dict is not None:
                    # A model without a head has no prefix in front of its names; in the file all have one.
                    prefix = "" if self.base_model is self else f"{self.base_model_prefix}."
                    tensors = {key: state_dict[prefix + key.removeprefix("model.")] for key in tensors}
                path = staged / expert_file_name(language)
                first = next(iter(modules.experts.values()))
                shape: dict = {"rank": first.rank, "gate_dim": first.gate.hidden.out_features, "int8": int8}
                write_expert_file(path, language, tensors, self, relative=modules.relative, **shape)
        return [Path(save_directory, expert_file_name(language)) for language in languages]

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

        All files are complete before the first one replaces an older one, `config.json` is the last, and files of the
        folder that are none of these stay. So where the backbone stays the same, as in training, an interruption leaves
        the older model or the new one. A folder with the backbone names no path of this machine, so it can be shared.

        Args:
            save_directory: folder; made if it does not exist.
            is_main_process: whether this process writes files that every process has.
            state_dict: taken instead of the model's tensors, under the same names.
            push_to_hub: push the folder after saving it.
            save_backbone: whether `model.safetensors` is written. Without it, loading takes the backbone from the
                config's `base_model_name_or_path`, which may be a folder of this machine.
            args, kwargs: as for `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: `push_to_hub` without the backbone, or weights that are not finite. Nothing is written then.
            OSError: a file could not be written; the message says why.

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
        hub = {name: kwargs.pop(name) for name in HUB_SETTINGS if name in kwargs}
        if not is_main_process:  # it writes nothing, but takes its part in what all processes do together
            if save_backbone:
                self._save_backbone(save_directory, False, state_dict, *args, **kwargs)
            return
        with staged_folder(save_directory) as staged:
            self.save_experts(staged, state_dict=state_dict)
            if save_backbone:
                self._save_backbone(staged, True, state_dict, *args, **kwargs)
            else:
                self._save_without_weights(staged, self._languages)
            hide_paths(staged, keep_base_model=not save_backbone)
            names = [path.name for path in staged.iterdir()]
        _delete_other_weights(Path(save_directory), names)
        if push_to_hub:
            self._push_saved(Path(save_directory), names, token=kwargs.get("token"), **hub)

    def _save_backbone(self, directory: str | os.PathLike, is_main_process: bool, state_dict, *args, **kwargs) -> None:
        """Writes what Transformers writes of a Whisper, and the code."""
        self._name_auto_classes(self.config)
        state_dict = self.state_dict() if state_dict is None else state_dict
        backbone = {key: tensor for key, tensor in state_dict.items() if ".experts." not in key}
        check_numbers("The model is not saved", backbone, largest=torch.finfo(torch.float64).max)
        if is_main_process and not self.can_generate() and self.generation_config is not None:
            self.generation_config.save_pretrained(directory)  # see `_keep_generation_config`
        super().save_pretrained(directory, is_main_process, backbone, False, *args, **kwargs)

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


def _delete_other_weights(folder: Path, names: list[str]) -> None:
    """Deletes the weights of an older model that would be loaded in place of, or beside, those just saved."""
    if not {SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME} & {*names}:
        return
    others = [SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME]
    others += [path.name for path in folder.glob("model-*.safetensors") if SHARD.fullmatch(path.name)]
    for name in {*others} - {*names}:
        Path(folder, name).unlink(missing_ok=True)


__all__ = ["SavingMixin"]
