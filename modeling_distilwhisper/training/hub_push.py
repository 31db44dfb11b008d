"""Pushes of a training to the Hub, after which the repository can be loaded as a saved folder can."""

import json
import tempfile
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from transformers.modelcard import TrainingSummary
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy
from transformers.utils import CONFIG_NAME, logging

from .checkpoints import CompleteCheckpoints

logger = logging.get_logger(__name__)
CARD = "README.md"


class HubPushes(CompleteCheckpoints):
    """A trainer whose repository on the Hub holds, after each push, all that loading needs.

    `Trainer` uploads the run's folder, which has no experts of the step until the run has ended, and has settings with
    paths of this machine. This class pushes the model by its own `push_to_hub`: experts, config, code, and once
    Whisper's weights; and next to it the processor and a model card. `hub_strategy` says when, as for `Trainer`. The
    training waits for a push. A push that fails does not end it.

    It overrides the private method `_push_from_checkpoint` of `Trainer`.

    Attributes that a subclass must set:
        is_routed: whether the model has experts.
    """

    is_routed: bool
    pushes_backbone = True  # whether Whisper's weights are pushed next to experts

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ) -> CommitInfo | None:
        """Pushes model, processor and model card; arguments as for `Trainer.push_to_hub`, but it always waits.

        The card is README.md of the run's folder. Without it, a repository that has no card gets `Trainer`'s short one,
        to which `kwargs` go. A card of a repository with more languages than this model's stays.

        Returns:
            The commit; `None` in all processes but the main one.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        if not self.is_world_process_zero():
            return None
        api = HfApi(token=token or self.args.hub_token)
        revision = revision or self.args.hub_revision
        message = commit_message or "End of training"
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if revision is not None:
            api.create_branch(self.hub_model_id, branch=revision, exist_ok=True)
        files = set(api.list_repo_files(self.hub_model_id, revision=revision))
        # Before the model: it would put a blank card where there is none.
        self._push_processor_and_card(api, revision, files, message, kwargs)
        where = {"token": api.token, "revision": revision, "commit_message": message}
        quantised = getattr(self.model, "is_quantized", False)
        if self.is_routed and (CONFIG_NAME in files or quantised or not self.pushes_backbone):
            return self.model.push_experts_to_hub(self.hub_model_id, **where)
        return self.model.push_to_hub(self.hub_model_id, **where)

    def _push_processor_and_card(
        self, api: HfApi, revision: str | None, files: set[str], message: str, card_settings: dict
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.processing_class.save_pretrained(folder)
            card = Path(str(self.args.output_dir), CARD)
            if card.is_file() and not (CARD in files and self._lists_other_languages(files)):
                Path(folder, CARD).write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
            elif CARD not in files:
                card_settings.pop("model_name", None)
                name = str(self.hub_model_id).rsplit("/", 1)[-1]
                summary = TrainingSummary.from_trainer(self, model_name=name, **card_settings)
                Path(folder, CARD).write_text(summary.to_model_card(), encoding="utf-8")
            api.upload_folder(
                repo_id=str(self.hub_model_id), folder_path=folder, revision=revision, commit_message=message
            )

    def _lists_other_languages(self, files: set[str]) -> bool:
        ours = getattr(self.model.config, "languages", None) or []
        theirs = {name.split(".")[1] for name in files if name.startswith("expert.") and name.count(".") == 2}
        return not theirs <= set(ours)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        strategy = self.args.hub_strategy
        if not self.is_world_process_zero() or strategy == HubStrategy.END:
            return
        step = self.state.global_step
        try:
            self.push_to_hub(f"Training in progress, step {step}")
            if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
                name = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else Path(checkpoint_folder).name
                self._push_checkpoint(Path(checkpoint_folder), name, f"Training in progress, step {step}, checkpoint")
        except Exception as error:  # of any class: the network's, the Hub's, the disk's
            logger.warning(
                f"Step {step} was not pushed to {self.hub_model_id} ({error}). The training goes on, and the next "
                "checkpoint will be pushed."
            )

    def _push_checkpoint(self, folder: Path, name: str, message: str) -> None:
        """Pushes a checkpoint, to resume from, into a folder of the repository."""
        operations = []
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != TRAINING_ARGS_NAME:  # a pickle, which holds the token
                inside = f"{name}/{path.relative_to(folder).as_posix()}"
                operations.append(CommitOperationAdd(inside, self._for_everyone(path)))
        api = HfApi(token=self.args.hub_token)
        api.create_commit(str(self.hub_model_id), operations, commit_message=message, revision=self.args.hub_revision)

    def _for_everyone(self, path: Path) -> bytes | Path:
        """A checkpoint's file as others can use it: their backbone is in the repository, not in a folder of ours."""
        if path.name != CONFIG_NAME or not self.is_routed:
            return path
        config = json.loads(path.read_text(encoding="utf-8"))
        base = config.get("base_model_name_or_path")
        if base is not None and (Path(base).is_absolute() or Path(base).exists()):
            config |= {"base_model_name_or_path": self.hub_model_id}
            config |= {"base_model_revision": None, "base_model_subfolder": None}
        return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
