"""Make a large test set for the miniature of examples/quickstart: 400 clips a language, in and out of domain.

    python benchmarks/miniature_tests.py miniature-tests

The miniature's own 40 clips a language show only large differences, and its settings were chosen by them. These clips
have other texts: none is in the miniature, and none was used to pretrain its models. Nothing is chosen by them. The
voices are those of the miniature's test sets. Needs espeak-ng 1.51 and the extra `remake-quickstart`, and some minutes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "make"))

from make import PRETRAINING_TEXTS, SPLITS, write_speech
from texts import LANGUAGES, make_texts

from modeling_distilwhisper.runs.files import is_taken, staged_folder

CLIPS = 400


def main(output: str = "", clips: str = str(CLIPS)) -> None:
    if not output or is_taken(output):
        raise SystemExit(f"Expected a new folder, got {output or 'nothing'}.")
    with staged_folder(output) as staged:
        for language in LANGUAGES:
            write_speech(staged, language, new_texts(language, int(clips)), {"test": int(clips)})


def new_texts(language: str, count: int) -> list[str]:
    """Texts that are neither in the miniature nor among those that its models were pretrained on."""
    miniature = frozenset(make_texts(language, sum(SPLITS.values()), seed=1))
    pretraining = make_texts(language, PRETRAINING_TEXTS, seed=2, without=miniature)
    return make_texts(language, count, seed=3, without=miniature | frozenset(pretraining))


if __name__ == "__main__":
    main(*sys.argv[1:])
