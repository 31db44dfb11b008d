"""Model cards: what `results.json` of a run and, where there are, a `summary.json` and rows of a bias study tell.

The text is a template's; the front matter is what the Hub searches by and draws tables from.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..data import common_voice, fleurs
from ..data.sources import Source
from ..expert_file_distilwhisper import expert_file_name
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.files import file_name, write_whole
from ..runs.precision import QUANTISED
from .card_tables import (
    Row,
    data_rows,
    eval_results,
    language_name,
    ranks_of,
    readable_differences,
    score_tables,
    scores_of_evaluation,
    scores_of_run,
    size_rows,
    table_of,
    usage_rows,
)

# With a digest of the card that it stands in: another one says that somebody has edited it.
MARK = "<!-- Written from results. Edited, the card is somebody's own, and is left as it is. sha256: - -->"
DIGEST = re.compile(r"(?<=sha256: )(?:-|[0-9a-f]{64})(?= -->)")
TEMPLATE = Path(__file__).with_name("card_template.md")
IN_ISO_639 = {"jw": "jv"}  # Whisper's code, and the Hub's


def card_of_run(
    results: Mapping,
    *,
    name: str,
    evaluation: Mapping | None = None,
    system: str | None = None,
    bias: Sequence[Row] | None = None,
    license: str | None = None,
    note: str | None = None,
) -> ModelCard:
    """The card of a model with experts. What the run does not have, its card leaves out.

    Args:
        results: `results.json` of its run.
        name: folder or Hub id that the card's examples load.
        evaluation: `summary.json` of `run_eval.py`; its scores of a data set's split stand in place of the run's.
        system: what the evaluation calls this model.
        bias: rows of a study of groups of speakers, whatever their columns.
        license: as the Hub names it.
        note: what a reader has to know before all else.

    Raises:
        ValueError: the run was not of experts, the evaluation does not have this model, or the rows are none.
    """
    settings, data = results["settings"]["model"], results["settings"]["data"]
    if settings["method"] != "experts":
        raise ValueError(f"Expected a run of --method experts, which these cards are for, got {settings['method']!r}.")
    languages, scores = settings["languages"], scores_of_run(results)
    if evaluation is not None:
        found = scores_of_evaluation(evaluation, system)
        covered = {(score["data_set"], score["split"]) for score in found}
        scores = [*found, *(score for score in scores if (score["data_set"], score["split"]) not in covered)]
    learned, others = ([Source.parse(word) for word in data[which]] for which in ("data", "test_data"))
    sources = {source.name: source for source in (*learned, *others)}
    names = [source.name for source in learned]
    amounts, sizes = results.get("data", {}), results.get("sizes", {})
    return render(
        name=name,
        languages=languages,
        base=settings["student"],
        teacher=settings["teacher"],
        data_sets=[place for source in learned if (place := hub_data_set(source))],
        results=eval_results(scores, languages, lambda data_set, code: place_of(data_set, code, sources.get(data_set))),
        license=license,
        note=note,
        experts_from=link(settings["experts_from"]) if settings.get("experts_from") else None,
        teacher_precision=teacher_precision(results),
        ranks={language_name(code): rank for code, rank in ranks_of(results).items()},
        settings={"student_precision": "float32"} | settings | results["settings"].get("training", {}),
        tests=[table | {"learned": table["data_set"] in names} for table in score_tables(scores, languages)],
        quantised=sorted({score["precision"] for score in scores}.intersection(QUANTISED)),
        normalizers=sorted({score["normalizer"] for score in scores}),
        fewest_words=min((score["words"] for score in scores), default=None),
        differences=table_of(readable_differences(evaluation or {}, system)),
        bias=table_of(bias or []),
        data=table_of(data_rows(amounts)),
        hours=sum(own["hours"] for title, own in amounts.items() if title.split()[-2] == "train"),
        seconds=results.get("training", {}).get("train_runtime"),
        best={language_name(code): own for code, own in results.get("best by language", {}).items()},
        usage=table_of(usage_rows(results.get("expert usage at inference", {}))),
        backbone=sizes.get("backbone"),
        sizes=table_of(size_rows(sizes.get("experts", {}))),
    )


def render(
    *,
    name: str,
    languages: Sequence[str],
    base: str,
    data_sets: Sequence[str],
    teacher: str | None = None,
    results: Sequence[EvalResult] = (),
    license: str | None = None,
    license_name: str | None = None,
    license_link: str | None = None,
    **content,
) -> ModelCard:
    """Front matter, and the template filled with `content`.

    Args:
        languages: Whisper's codes.
        base, teacher: folders or Hub ids.
        data_sets: Hub ids.
        license_name, license_link: of a licence that the Hub does not know (`license="other"`).
    """
    data = ModelCardData(
        language=[IN_ISO_639.get(code, code) for code in languages],
        license=license,
        license_name=license_name,
        license_link=license_link,
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        base_model=hub_id(base),
        datasets=list(dict.fromkeys(data_sets)) or None,
        metrics=["wer", "cer"],
        tags=["distilwhisper", "whisper", "language-experts"],
        model_name=name if results else None,
        eval_results=list(results) or None,
    )
    content |= {
        "mark": MARK,
        "name": name,
        "codes": languages,
        "language_names": [language_name(code) for code in languages],
        "base": link(base),
        "teacher": link(teacher) if teacher else None,
    }
    card = ModelCard.from_template(data, template_path=str(TEMPLATE), **content)
    card.text = re.sub(r"\n{3,}", "\n\n", card.text).rstrip() + "\n"  # where a template leaves something out
    return card


def save_card(card: ModelCard, path: str | Path) -> bool:
    """Writes the card and returns whether it did: one that is not as this wrote it is somebody's own and stays."""
    path = Path(path)
    if path.is_file() and is_own(path.read_text(encoding="utf-8", errors="replace")):
        return False
    write_whole(path, signed(str(card)))
    return True


def left_alone(path: str | Path) -> str:
    """What to tell where `save_card` did not write."""
    return f"{path} is somebody's own: it was edited, or not written from results. For a new one, delete or move it."


def signed(text: str) -> str:
    """The card with its own digest in `MARK`."""
    bare = DIGEST.sub("-", text, count=1)
    return DIGEST.sub(hashlib.sha256(bare.encode()).hexdigest(), bare, count=1)


def is_own(text: str) -> bool:
    """Whether somebody wrote the card or changed anything in it."""
    return not DIGEST.search(text) or signed(text) != text


def teacher_precision(results: Mapping) -> str | None:
    """What the teacher taught in, where the run says so and it is not float32."""
    told = results.get("teacher precision") or results["settings"]["model"].get("teacher_precision", "auto")
    told = told.removeprefix("torch.")
    return told if told not in ("auto", "float32") else None


def sizes(model: DistilWhisperForConditionalGeneration, folder: str | Path) -> dict:
    """Parameters of the backbone, and of each language's experts and gates, their rank (0: full), and the bytes of
    their file in `folder`."""
    experts = {}
    for language in model.config.languages:
        own = list(model.experts_of(language).values())
        experts[language] = {
            "parameters": sum(weights.numel() for expert in own for weights in expert.parameters()),
            "rank": getattr(getattr(own[0].fc1, "up", None), "in_features", 0),
            "bytes": Path(folder, expert_file_name(language)).stat().st_size,
        }
    backbone = model.num_parameters() - sum(own["parameters"] for own in experts.values())
    return {"backbone": backbone, "experts": experts}


def hub_id(name: str) -> str | None:
    """The name if it can be an id of the Hub, such as "openai/whisper-small", and is no folder."""
    try:
        validate_repo_id(name)  # no dots in front, no "..": "../student" is a folder's, here or elsewhere
    except HFValidationError:
        return None
    return name if "/" in name and not Path(name).is_dir() else None


def link(name: str) -> str:
    """A model's name in Markdown: where it is on the Hub, or the last part of a folder's path."""
    return f"[{name}](https://huggingface.co/{name})" if hub_id(name) else f"`{Path(name).name}`"


def hub_data_set(source: Source) -> str | None:
    """The Hub's id of a corpus, or, for a release of Common Voice, what the Hub knew that by."""
    if source.reader == "fleurs":
        return fleurs.HUB_ID
    if source.reader == "hub":
        return hub_id(source.location)  # none where it differs from language to language
    release = re.search(r"cv-corpus-(\d+)\.(\d+)", source.location) if source.reader == "common_voice" else None
    return f"mozilla-foundation/common_voice_{release[1]}_{release[2]}" if release else None


def place_of(data_set: str, language: str, source: Source | None) -> tuple[str, str]:
    """What the Hub calls a data set and its part in a language, as far as it has it."""
    config = language
    if source is not None and source.reader == "fleurs":
        config = fleurs.CODES.get(language, language)
    elif source is not None and source.reader == "common_voice":
        config = common_voice.CODES.get(language, language)
    elif source is not None and source.reader == "hub":
        config = source.settings.get("config", language).replace("{language}", language)
    return (source and hub_data_set(source)) or file_name(data_set), config


__all__ = ["card_of_run", "left_alone", "render", "save_card", "sizes"]
