"""Push a model to the Hugging Face Hub: all of it, or the experts of some languages, with its model card.

    distilwhisper push distilwhisper-base-gl me/distilwhisper-base-gl
    distilwhisper push distilwhisper-base-gl org/distilwhisper-base --languages gl --create_pr

Without --languages, the complete model: Whisper's weights, experts, processor and card. With --languages, only their
experts, in one commit: into a repository that has experts of other languages, or into a new one, which then loads
Whisper's weights from where they are on the Hub. The folder's card goes with it where the repository has none; a card
as `distilwhisper train` wrote it gets the repository's name first. Log in once before: `hf auth login`.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi

from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..reporting.model_card import card_of_run, with_digest
from ..repository_distilwhisper import require_distilwhisper
from ..runs.results import FILE, RunResults
from .command_line import command, make_parser

CARD = "README.md"


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    require_distilwhisper(str(arguments.folder), {})
    api, card = HfApi(), card_for(arguments.folder, arguments.repo_id)
    has_card = api.file_exists(arguments.repo_id, CARD, revision=arguments.revision)
    commit = push_experts(arguments) if arguments.languages else push_model(arguments)
    if card is not None and not has_card:
        api.upload_file(
            path_or_fileobj=card.encode(),
            path_in_repo=CARD,
            repo_id=arguments.repo_id,
            revision=commit.pr_revision or arguments.revision,
            commit_message="Upload model card",
        )
    print(commit.pr_url or commit.repo_url)


def push_model(arguments: argparse.Namespace) -> CommitInfo:
    """Pushes the complete model of a folder, in one commit."""
    model = DistilWhisperForConditionalGeneration.from_pretrained(arguments.folder)
    return model.push_to_hub(
        arguments.repo_id,
        private=arguments.private or None,
        create_pr=arguments.create_pr,
        revision=arguments.revision,
        commit_message=arguments.message,
    )


def push_experts(arguments: argparse.Namespace) -> CommitInfo:
    """Pushes the experts of some languages, in one commit."""
    model = DistilWhisperForConditionalGeneration.from_pretrained(arguments.folder, languages=arguments.languages)
    return model.push_experts_to_hub(
        arguments.repo_id,
        arguments.languages,
        int8=arguments.int8,
        private=arguments.private or None,
        create_pr=arguments.create_pr,
        revision=arguments.revision,
        commit_message=arguments.message,
    )


def card_for(folder: Path, repo_id: str) -> str | None:
    """The text of the folder's card; with the repository's name if it is as `distilwhisper train` wrote it."""
    path = folder / CARD
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    if (folder / FILE).is_file():
        results = RunResults.read(folder)
        as_trained, renamed = (
            with_digest(str(card_of_run(results, name=name))) for name in (folder.resolve().name, repo_id)
        )
        if text == as_trained:
            return renamed
    return text


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("folder", type=Path, help="a run's folder, or another folder of a model with experts")
    parser.add_argument("repo_id", help="the repository, such as me/distilwhisper-gl; made if it does not exist")
    parser.add_argument("--languages", nargs="+", help="push only the experts of these languages, such as gl ca")
    parser.add_argument("--int8", action="store_true", help="with --languages: store matrices as 8-bit integers")
    parser.add_argument("--private", action="store_true", help="a repository that is made is private")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request, for a repository of others")
    parser.add_argument("--revision", help="branch to push to; made if it does not exist")
    parser.add_argument("--message", help="of the commit")
    arguments = parser.parse_args(argv)
    if arguments.int8 and not arguments.languages:
        parser.error("--int8 goes with --languages. To push a complete model as 8-bit integers, compress it first.")
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
