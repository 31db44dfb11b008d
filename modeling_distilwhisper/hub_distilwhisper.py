"""Pushing a model, or some of its languages, to the Hugging Face Hub without touching the other languages there."""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError, SafetensorsParsingError
from huggingface_hub.hf_api import ModelInfo
from transformers.utils import CONFIG_NAME, cached_file, logging
from transformers.utils.hub import create_and_tag_model_card

from .configuration_distilwhisper import DistilWhisperConfig
from .expert_file_distilwhisper import backbone_metadata, check_backbone, expert_file_name, language_of_file
from .files_distilwhisper import staged_folder
from .language_names_distilwhisper import language_names
from .names_distilwhisper import hide_paths, is_hub_id
from .repository_distilwhisper import listed_languages, read_config
from .saving_distilwhisper import SavingMixin

logger = logging.get_logger(__name__)
ATTEMPTS = 5  # to commit, in case others push at the same time
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
OVERTAKEN = 412  # HTTP status if the parent of a commit is no longer the branch's last commit


class PushExpertsMixin(SavingMixin):
    """Pushing a model with experts, or some of its languages.

    Needs what `LanguageExpertsMixin` needs, and `from_pretrained` of `LoadingMixin`. It extends a private method of
    Transformers' `PushToHubMixin`: `_upload_modified_files`.
    """

    loaded_commit: str | None = None  # the commit of the Hub repository that the model was loaded from

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

        A repository with a DistilWhisper gets `expert.<language>.safetensors` of each of these languages and their
        entries in `config.json`; its other files stay as they are. A new or empty repository gets all that loading
        needs except the backbone, which comes from `base_model_name_or_path`; and the backbone's processor, so that the
        pipeline can load it by its name. If somebody else commits at the same time, the entries are added to theirs.

        Args:
            repo_id: the repository, `user/name`; made if it does not exist.
            languages: codes; by default of all languages that are loaded. Existing experts are replaced.
            int8: as for `save_experts`.
            private: whether a new repository is private.
            revision: branch to push to; made if it does not exist.
            create_pr: open a pull request instead, as for a repository of others.
            commit_message, commit_description, token: as for `push_to_hub` of Transformers.

        Returns:
            The commit.

        Raises:
            ValueError: there is nothing to push; or the repository's experts were made on another backbone; or it holds
                no DistilWhisper; or its backbone would be a folder of this machine. Nothing is pushed then.
            OSError: others kept committing, or pushed one of these languages meanwhile.

        Example:
            ```python
            model.push_experts_to_hub("me/distilwhisper-small", ["gl"])
            ```
        """
        languages = language_names(self._languages if languages is None else languages)
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
                operations += self._companions(repo_id, languages, now, api)
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
        raise OSError(
            f"Others committed to {repo_id} during each of {ATTEMPTS} attempts, so the experts of {languages} were not "
            "pushed. Push again later, or with `create_pr=True`."
        )

    def _require_untouched(self, repo_id: str, languages: list[str], first: ModelInfo, now: ModelInfo) -> None:
        before, after = _files(first), _files(now)
        changed = [
            code for code in languages if before.get(expert_file_name(code)) != after.get(expert_file_name(code))
        ]
        if changed:
            raise OSError(
                f"Somebody else pushed experts of {changed} to {repo_id} meanwhile (commit {now.sha}), so these were "
                "not. Push again to replace theirs, or with another `revision`."
            )

    def _companions(self, repo_id: str, languages: list[str], now: ModelInfo, api: HfApi) -> list[CommitOperationAdd]:
        """The files that a commit to a repository in the state `now` adds to the experts."""
        if CONFIG_NAME not in _files(now):
            with tempfile.TemporaryDirectory() as folder:
                self._save_description(folder, languages, api.token)
                return [CommitOperationAdd(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]
        path = hf_hub_download(repo_id, CONFIG_NAME, revision=now.sha, token=api.token)
        config = read_config(path, f"{repo_id}/{CONFIG_NAME}")
        if config.get("model_type") != DistilWhisperConfig.model_type:
            raise ValueError(
                f"{repo_id} is a {config.get('model_type')!r}, expected a 'distilwhisper' or an empty repository. Push "
                "the experts to a separate repository."
            )
        self._require_same_backbone(repo_id, now, api)
        text = self._config_with(config, languages, repo_id, sorted(filter(None, map(language_of_file, _files(now)))))
        return [CommitOperationAdd(CONFIG_NAME, text.encode())]

    def _config_with(self, config: dict, languages: list[str], repo_id: str, there: list[str]) -> str:
        """A repository's config with the entries of these languages, as text.

        Args:
            config: as it is there.
            languages: whose experts are pushed.
            repo_id: the repository, for messages.
            there: languages whose experts are there. They are listed if the config's list is none of codes.
        """
        listed = there
        try:
            if config.get("languages") is not None:
                listed = listed_languages(config, repo_id)
        except ValueError as error:
            logger.warning(f"{error} It is replaced by the languages of its expert files: {there}.")
        config["languages"] = [*listed, *(code for code in languages if code not in listed)]
        try:
            config["language_token_ids"] = self._token_ids_with(config.get("language_token_ids") or {}, languages)
            relatives = {
                code: name for code, name in (self.config.language_relatives or {}).items() if code in languages
            }
            config["language_relatives"] = (config.get("language_relatives") or {}) | relatives
            detected = [code for code in config.get("detection_languages") or [] if code not in languages]
            detected += [code for code in self.config.detection_languages or [] if code in languages]
            config["detection_languages"] = detected
            budgets = dict(config.get("gate_budgets") or {})
            budgets |= {code: self.config.budget_of(code) for code in languages}
            default = config.get("gate_budget")
            config["gate_budgets"] = {code: budget for code, budget in budgets.items() if budget != default}
            DistilWhisperConfig.from_dict(dict(config))
        except Exception as error:  # the class depends on which setting is wrong
            raise ValueError(
                f"Not pushed: {CONFIG_NAME} of {repo_id} has a wrong setting, so it could not be loaded afterwards "
                f"({error}). Correct it there first, or push to a separate repository."
            ) from error
        return json.dumps(config, indent=2, sort_keys=True) + "\n"  # as Transformers writes it

    def _token_ids_with(self, there: dict[str, int], languages: list[str]) -> dict[str, int]:
        """A repository's token ids and those of pushed languages. One that is taken there is replaced by a free one."""
        token_ids, vocab_size = self.config.language_token_ids or {}, self.config.vocab_size
        merged = dict(there)
        for code in languages:
            taken = {index for name, index in merged.items() if name != code}
            ids = [merged.get(code), token_ids[code]] if token_ids[code] >= vocab_size else [token_ids[code]]
            free = max(vocab_size - 1, *taken, -1) + 1
            merged[code] = next((index for index in ids if index is not None and index not in taken), free)
        return merged

    def _require_same_backbone(self, repo_id: str, now: ModelInfo, api: HfApi) -> None:
        expert = next((name for name in _files(now) if language_of_file(name)), None)
        if expert is None:
            source = repo_id
            there = type(self).from_pretrained(repo_id, languages=[], revision=now.sha or "main", token=api.token)
            metadata = backbone_metadata(there)
        else:  # only the head of the file is fetched, which names the backbone
            source = f"{repo_id}/{expert}"
            try:
                metadata = api.parse_safetensors_file_metadata(repo_id, expert, revision=now.sha).metadata
            except SafetensorsParsingError as error:
                raise ValueError(f"Not pushed: {source} is damaged ({error}). Replace or delete it first.") from None
        try:
            check_backbone(source, metadata, self)
        except ValueError as error:
            raise ValueError(f"Not pushed: {error} Push these to a separate repository.") from None

    def _require_backbone_on_hub(self) -> None:
        base = self.config.base_model_name_or_path
        if not is_hub_id(base):
            raise ValueError(
                f"Experts alone would need their backbone from {base!r}, which is not on the Hub. Push the complete "
                "model (`push_to_hub`), or set `model.config.base_model_name_or_path` to this Whisper's Hub id."
            )

    def _save_description(
        self, save_directory: str | os.PathLike, languages: list[str], token: bool | str | None
    ) -> None:
        """Writes the files that loading these languages needs, but their experts and the backbone."""
        self._require_backbone_on_hub()
        self._save_without_weights(save_directory, languages)
        self._add_processor(save_directory, token)

    def _upload_modified_files(self, working_dir, repo_id, *args, **kwargs):
        # `push_to_hub` ends here. Transformers has put the repository's card, or a blank one, into a temporary folder.
        self._complete_upload(working_dir, repo_id, kwargs.get("token"), kwargs.get("revision"), has_card=False)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def _push_saved(
        self, folder: Path, names: list[str], *, repo_id: str | None = None, token=None, private=None, tags=None, **hub
    ) -> None:
        """Pushes these files of a folder, and its card. What lies there from before stays there."""
        api = HfApi(library_name="transformers", token=token)
        repo_id = api.create_repo(repo_id or folder.resolve().name, private=private, exist_ok=True).repo_id
        if not (has_card := Path(folder, CARD).is_file()):
            create_and_tag_model_card(repo_id, tags, token=token).save(folder / CARD)
        before = {name: math.inf for name in os.listdir(folder) if name not in (*names, CARD)}
        self._complete_upload(folder, repo_id, token, hub.get("revision"), has_card)
        super()._upload_modified_files(folder, repo_id, before, token=token, **hub)

    def _complete_upload(self, folder, repo_id: str, token, revision: str | None, has_card: bool) -> None:
        """Adds processor and card to a folder that will be uploaded, where the repository has none.

        Args:
            has_card: whether the folder's card is this model's own.

        Raises:
            ValueError: the repository has languages that this model lacks.
        """
        api = HfApi(library_name="transformers", token=token)
        try:
            now = api.model_info(repo_id, revision=revision)
        except RevisionNotFoundError:  # the branch will be made from the main one
            now = api.model_info(repo_id)
        # This model's config would take these languages off the repository's list.
        hidden = sorted({language_of_file(name) or "" for name in _files(now)} - {"", *self._languages})
        if hidden:
            raise ValueError(
                f"{repo_id} has experts of {hidden} too, which this model lacks, so its config would no longer list "
                "them. Load them (`load_experts`), push only your languages (`push_experts_to_hub`), or delete "
                "their files there first."
            )
        if not {*PROCESSOR_FILES} & {*_files(now), *os.listdir(folder)}:
            self._add_processor(folder, token)
        card = Path(self.name_or_path, CARD)
        if not has_card and CARD not in _files(now) and self.name_or_path and card.is_file():
            shutil.copyfile(card, Path(folder, CARD))

    def _add_processor(self, directory: str | os.PathLike, token: bool | str | None) -> None:
        """Copies the files of the processor next to this model, or else next to its backbone.

        They are copied, not loaded: loading could ask whether to run a repository's code.
        """
        config = self.config
        sources: list[tuple[str | None, dict]] = [
            (self.name_or_path, {"revision": self.loaded_commit}),
            (
                config.base_model_name_or_path,
                {"revision": config.base_model_revision, "subfolder": config.base_model_subfolder or ""},
            ),
        ]
        for source, where in sources:
            try:
                paths = [
                    cached_file(source, name, token=token, _raise_exceptions_for_missing_entries=False, **where)
                    for name in PROCESSOR_FILES
                    if source
                ]
            except OSError as error:
                logger.warning(f"No processor could be fetched from {source} ({error}).")
                continue
            if any(paths):
                with staged_folder(directory) as staged:
                    for path in filter(None, paths):
                        shutil.copyfile(path, Path(staged, Path(path).name))
                    hide_paths(staged)
                return
        logger.warning("No processor is pushed: there is none next to the model. Push it too (`push_to_hub`).")


def _files(repository: ModelInfo) -> dict[str, str | None]:
    """The repository's files, and the ids of their contents if those were asked for."""
    return {file.rfilename: file.blob_id for file in repository.siblings or []}


__all__ = ["PushExpertsMixin"]
