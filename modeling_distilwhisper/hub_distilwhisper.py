"""Experts on the Hugging Face Hub: what a repository has, and pushing languages to it without touching the others."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo
from transformers import WhisperConfig
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file, logging

from .configuration_distilwhisper import DistilWhisperConfig, check_language_codes
from .expert_file_distilwhisper import backbone_metadata, check_backbone, expert_file_name, language_of_file

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
logger = logging.get_logger(__name__)
ATTEMPTS = 5  # at a commit, where others push at the same time
CARD = "README.md"
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
OVERTAKEN = 412  # HTTP status where the parent of a commit is not the branch's last one any more


def languages_in(repo_or_dir: str | os.PathLike, **hub_arguments) -> list[str]:
    """The languages that a folder or Hub repository has experts for."""
    folder = Path(repo_or_dir, hub_arguments.get("subfolder") or "")
    if Path(repo_or_dir).is_dir():
        return sorted(filter(None, (language_of_file(path.name) for path in folder.glob("expert.*"))))
    arguments = {key: value for key, value in hub_arguments.items() if key in HUB_ARGUMENTS}
    return list(DistilWhisperConfig.get_config_dict(str(repo_or_dir), **arguments)[0].get("languages", []))


def require_distilwhisper(source: str, hub: dict) -> str:
    """Returns `source`, a folder or Hub repository, if it holds a DistilWhisper."""
    found, _ = WhisperConfig.get_config_dict(source, **hub)
    if found.get("model_type") != DistilWhisperConfig.model_type:
        raise ValueError(
            f"{source} is a {found.get('model_type')!r}, expected a 'distilwhisper'. "
            "To put experts on a plain Whisper, use `from_whisper(..., languages=[...])`."
        )
    return source


def has_weights(name: str, variant: str | None, hub: dict) -> bool:
    """Whether a folder or Hub repository holds the backbone's weights too."""
    names = [SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME]
    if variant is not None:
        names = [f"model.{variant}.safetensors", f"model.safetensors.index.{variant}.json", *names]
    return any(cached_file(name, file, _raise_exceptions_for_missing_entries=False, **hub) for file in names)


class PushExpertsMixin:
    """Pushing a `DistilWhisperForConditionalGeneration`, or some of its languages."""

    _own_card: str | None = None  # the text of the model card in the folder that is pushed

    def push_experts_to_hub(
        self,
        repo_id: str,
        languages: list[str] | None = None,
        *,
        int8: bool = False,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> CommitInfo:
        """Pushes the experts of some languages to the Hub, in one commit.

        A repository that has a DistilWhisper gets `expert.<language>.safetensors` of each of these languages and their
        entries in `config.json`; its other files stay as they are. A new or empty one gets all that loading needs but
        the backbone, which comes from `base_model_name_or_path`, and that one's processor, so that the pipeline runs it
        by its name. Where somebody else commits at the same time, the entries are added to what they committed.

        Args:
            languages: whose experts; by default all that are loaded. Those that are there already are replaced.
            int8: as for `save_experts`.
            private: whether a repository that is made for them is private.
            revision: branch to push to; made where it is not there.
            create_pr: open a pull request instead, as for a repository of others.
            commit_message, commit_description, token: as for `push_to_hub` of Transformers.

        Raises:
            ValueError: nothing to push, or what is there was made on another backbone, is no DistilWhisper, or would
                need a backbone that is a folder of this machine. Nothing is pushed then.
            RuntimeError: others kept committing, or pushed one of these languages meanwhile.
        """
        languages = list(self.config.languages) if languages is None else check_language_codes(languages)
        if not languages:
            raise ValueError("There are no experts to push: the model has none, or `languages` is empty.")
        api = HfApi(library_name="transformers", token=token)
        if not api.repo_exists(repo_id):
            self._require_backbone_on_hub()  # before there is an empty repository
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        first = None
        with tempfile.TemporaryDirectory() as folder:
            experts = self.save_experts(folder, languages, int8=int8)
            for _ in range(ATTEMPTS):
                now = api.model_info(repo_id, revision=revision, files_metadata=True)
                first = now if first is None else first
                self._require_untouched(repo_id, languages, first, now)
                operations = [CommitOperationAdd(path.name, path) for path in experts]
                operations += self._beside_experts(repo_id, languages, now, api)
                try:
                    return api.create_commit(
                        repo_id,
                        operations,
                        commit_message=commit_message or f"Upload experts: {', '.join(languages)}",
                        commit_description=commit_description,
                        revision=revision,
                        create_pr=create_pr,
                        parent_commit=now.sha,
                    )
                except HfHubHTTPError as error:
                    if error.response.status_code != OVERTAKEN:
                        raise
        raise RuntimeError(
            f"Others committed to {repo_id} during each of {ATTEMPTS} attempts, so the experts of {languages} were not "
            "pushed. Push again when it is quiet there, or with `create_pr=True`."
        )

    def _require_untouched(self, repo_id: str, languages: list[str], first: ModelInfo, now: ModelInfo) -> None:
        before, after = _files(first), _files(now)
        changed = [
            code for code in languages if before.get(expert_file_name(code)) != after.get(expert_file_name(code))
        ]
        if changed:
            raise RuntimeError(
                f"Somebody else pushed experts of {changed} to {repo_id} meanwhile (commit {now.sha}), so these were "
                "not. Push again to replace theirs, or with another `revision`."
            )

    def _beside_experts(self, repo_id: str, languages: list[str], now: ModelInfo, api: HfApi) -> list:
        """What a commit has to add beside the experts, to a repository in the state `now`."""
        if CONFIG_NAME not in _files(now):
            with tempfile.TemporaryDirectory() as folder:
                self._describe(folder, languages, api.token)
                return [CommitOperationAdd(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]
        with open(hf_hub_download(repo_id, CONFIG_NAME, revision=now.sha, token=api.token), encoding="utf-8") as file:
            config = json.load(file)
        if config.get("model_type") != DistilWhisperConfig.model_type:
            raise ValueError(
                f"{repo_id} is a {config.get('model_type')!r}, expected a 'distilwhisper' or an empty repository. Push "
                "the experts to a repository of their own."
            )
        self._require_same_backbone(repo_id, now, api)
        listed = config.get("languages") or []
        config["languages"] = [*listed, *(code for code in languages if code not in listed)]
        own = {code: self.config.language_token_ids[code] for code in languages}
        config["language_token_ids"] = (config.get("language_token_ids") or {}) | own
        budgets = {code: self.config.budget_of(code) for code in languages}
        budgets = (config.get("gate_budgets") or {}) | budgets
        config["gate_budgets"] = {code: own for code, own in budgets.items() if own != config.get("gate_budget")}
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"  # as Transformers writes it
        return [CommitOperationAdd(CONFIG_NAME, text.encode())]

    def _require_same_backbone(self, repo_id: str, now: ModelInfo, api: HfApi) -> None:
        expert = next((name for name in _files(now) if language_of_file(name)), None)
        if expert is None:
            source = repo_id
            metadata = backbone_metadata(
                type(self).from_pretrained(repo_id, languages=[], revision=now.sha, token=api.token)
            )
        else:  # its head, which is all that is fetched of it, says on what it was made
            source = f"{repo_id}/{expert}"
            metadata = api.parse_safetensors_file_metadata(repo_id, expert, revision=now.sha).metadata
        try:
            check_backbone(source, metadata, self)
        except ValueError as error:
            raise ValueError(f"Not pushed: {error} Push these to a repository of their own.") from None

    def _require_backbone_on_hub(self) -> None:
        base = self.config.base_model_name_or_path
        if base is None or Path(base).is_absolute() or Path(base).exists():
            raise ValueError(
                f"Experts alone would need their backbone from {base!r}, which is not on the Hub. Push the whole model "
                "(`push_to_hub`), or set `model.config.base_model_name_or_path` to where this Whisper is on the Hub."
            )

    def _describe(self, save_directory: str | os.PathLike, languages: list[str], token: bool | str | None) -> None:
        """Writes all that loading these languages needs beside their experts and a backbone on the Hub."""
        self._require_backbone_on_hub()
        self._save_without_weights(save_directory, languages)
        self._add_processor(save_directory, token)

    def _upload_modified_files(self, working_dir, repo_id, files_timestamps, **kwargs) -> CommitInfo:
        # Both ways to push a whole model end here. Its config would take these languages off the repository's list.
        api = HfApi(library_name="transformers", token=kwargs.get("token"))
        try:
            now = api.model_info(repo_id, revision=kwargs.get("revision"))
        except RevisionNotFoundError:  # a branch of the main one will be made
            now = api.model_info(repo_id)
        hidden = sorted({language_of_file(name) for name in _files(now)} - {None, *self.config.languages})
        if hidden:
            raise ValueError(
                f"{repo_id} has experts of {hidden} too, which this model has not, and its config would not list them "
                "any more. Load them (`load_experts`), push your languages alone (`push_experts_to_hub`), or delete "
                "their files there first."
            )
        if not {*PROCESSOR_FILES} & {*_files(now), *os.listdir(working_dir)}:
            self._add_processor(working_dir, api.token)
        # Transformers has put the repository's model card, or a blank one, over the folder's.
        card = Path(self.name_or_path, CARD)
        if self._own_card is not None:
            Path(working_dir, CARD).write_text(self._own_card, encoding="utf-8")
        elif CARD not in _files(now) and self.name_or_path and card.is_file():
            shutil.copyfile(card, Path(working_dir, CARD))
        return super()._upload_modified_files(working_dir, repo_id, files_timestamps, **kwargs)

    def _add_processor(self, directory: str | os.PathLike, token: bool | str | None) -> None:
        """Copies the files of the processor that lies beside this model, or else its backbone, where there is one.

        Copied, not loaded: that could ask whether to run a repository's code.
        """
        config = self.config
        places = [(self.name_or_path, {"revision": getattr(config, "_commit_hash", None)})]
        base = {"revision": config.base_model_revision, "subfolder": config.base_model_subfolder or ""}
        places.append((config.base_model_name_or_path, base))
        for place, where in places:
            try:
                paths = [
                    cached_file(place, name, token=token, _raise_exceptions_for_missing_entries=False, **where)
                    for name in PROCESSOR_FILES
                    if place
                ]
            except OSError as error:
                logger.warning(f"No processor could be fetched from {place} ({error}).")
                continue
            if any(paths):
                for path in filter(None, paths):
                    shutil.copyfile(path, Path(directory, Path(path).name))
                return
        logger.warning("The model goes without a processor, as none lies beside it. Push that too (`push_to_hub`).")

    def _get_files_timestamps(self, working_dir: str | os.PathLike) -> dict[str, float]:
        # What is not listed here counts as new and is uploaded: the experts were written before Transformers looks.
        stamps = super()._get_files_timestamps(working_dir)
        return {name: stamp for name, stamp in stamps.items() if language_of_file(name) not in self.config.languages}


def _files(repository: ModelInfo) -> dict[str, str | None]:
    """Its files, and the ids of their contents where they were asked for."""
    return {file.rfilename: file.blob_id for file in repository.siblings or []}


__all__ = ["PushExpertsMixin", "has_weights", "languages_in", "require_distilwhisper"]
