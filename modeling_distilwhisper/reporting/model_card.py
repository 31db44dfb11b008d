"""Model cards, written from the results of a run and, if given, of an evaluation and a bias study.

The text comes from a template. The Hub uses the front matter for its search and its tables.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from torch import nn

from ..data import common_voice, fleurs
from ..data.sources import Source
from ..expert_file_distilwhisper import expert_file_name
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.files import file_name, write_atomically
from ..runs.language_codes import is_tag, primary
from ..runs.old_names import with_new_names
from ..runs.precision import QUANTISED
from ..runs.results import ALL_STARTS, RunResults
from .card_tables import (
    RULES,
    amount,
    data_rows,
    eval_results,
    language_name,
    ranks_of,
    readable_differences,
    score_tables,
    scores_of_evaluation,
    scores_of_run,
    size_rows,
    unit_of,
    usage_rows,
)
from .markdown import Markdown, Row, as_markdown, code_span, code_spans, python_string, table_of
from .markdown import render as render_template

# Holds a digest of the card: if it is not the digest of the text, somebody has edited the card.
DIGEST_COMMENT = "<!-- Written from results. A card that was edited is not overwritten. sha256: - -->"
DIGEST = re.compile(r"(?<=sha256: )(?:-|[0-9a-f]{64})(?= -->)")
TEMPLATE = Path(__file__).with_name("card_template.md")
HUB_CODES = {"jw": "jv"}  # by Whisper's code, where the Hub has another


def card_of_run(
    results: RunResults | Mapping,
    *,
    name: str,
    evaluation: Mapping | None = None,
    system: str | None = None,
    bias: Sequence[Row] | None = None,
    license: str | None = None,
    note: str | None = None,
) -> ModelCard:
    """Makes the card of a model with experts. The card leaves out what the run lacks.

    Args:
        results: of the run, or the content of its `results.json`. Names of earlier versions are understood.
        name: folder or Hub id that the examples in the card load.
        evaluation: content of the `summary.json` of an evaluation. If it scored a split of a data set, its scores
            replace the run's.
        system: name of this model in the evaluation.
        bias: rows of a table about groups of speakers (`bias.card_rows`). They may have any columns.
        license: in the Hub's spelling, such as "apache-2.0".
        note: shown above all other text, as Markdown.

    Returns:
        The card. `str(card)` is the content of a README.md.

    Raises:
        ValueError: the run did not train experts, the evaluation lacks this model, or `bias` is not rows of a table.

    Example:
        >>> import json
        >>> from modeling_distilwhisper import card_of_run
        >>> with open("model_cards/quickstart.json", encoding="utf-8") as file:
        ...     results = json.load(file)
        >>> card = card_of_run(results, name="me/whisper-quickstart", license="apache-2.0")
        >>> card.data.language, card.data.license, card.data.eval_results[0].metric_type
        (['ca', 'hu', 'uk'], 'apache-2.0', 'wer')
    """
    if not isinstance(results, RunResults):
        results = RunResults.from_json(with_new_names(results, "The run's results"))
    if evaluation is not None:
        evaluation = with_new_names(evaluation, "The evaluation's summary")
    settings, data = results.settings["model"], results.settings["data"]
    if settings["method"] != "experts":
        raise ValueError(f"Expected a run of --method experts, which these cards are for, got {settings['method']!r}.")
    languages, scores = settings["languages"], scores_of_run(results)
    if evaluation is not None:
        evaluated = scores_of_evaluation(evaluation, system)
        covered = {(score["data_set"], score["split"]) for score in evaluated}
        scores = [*evaluated, *(score for score in scores if (score["data_set"], score["split"]) not in covered)]
    training_sources, test_sources = ([Source.parse(spec) for spec in data[name]] for name in ("data", "test_data"))
    sources = {source.name: source for source in (*training_sources, *test_sources)}
    training_sets = [source.name for source in training_sources]
    normalizers = sorted({score["normalizer"] for score in scores})
    return render(
        name=name,
        languages=languages,
        base=settings["student"],
        teacher=settings["teacher"],
        data_sets=[hub_name for source in training_sources if (hub_name := hub_data_set(source))],
        results=eval_results(scores, languages, lambda name, code: hub_names(name, code, sources.get(name))),
        license=license,
        note=note,
        experts_from=link(settings["experts_from"]) if settings.get("experts_from") else None,
        teacher_precision=code_span(precision) if (precision := teacher_precision(results)) else None,
        student_precision=code_span(settings.get("student_precision", "float32")),
        ranks={language_name(code): rank for code, rank in ranks_of(results).items()},
        settings={"student_precision": "float32"} | settings | results.settings.get("training", {}),
        tests=[table | {"in_domain": table["data_set"] in training_sets} for table in score_tables(scores, languages)],
        quantised=[
            code_span(name) for name in sorted({score["precision"] for score in scores}.intersection(QUANTISED))
        ],
        normalizers=code_spans(normalizers),
        rule=RULES.get(normalizers[0]) if len(normalizers) == 1 else None,
        several_rules=len(normalizers) > 1,
        by_character=any(unit_of(score) != "words" for score in scores),
        smallest=min(scores, key=lambda score: score["words"], default=None),
        amount=amount,
        differences=table_of(readable_differences(evaluation or {}, system)),
        bias=table_of(bias or []),
        data=table_of(data_rows(results.data)),
        hours=sum(record.hours for record in results.data if record.split == "train"),
        minutes=results.minutes,
        of_all_starts=ALL_STARTS in results.training,
        best={language_name(code): best for code, best in results.best_by_language.items()},
        usage=table_of(usage_rows(results.expert_usage)),
        backbone=results.sizes.get("backbone"),
        sizes=table_of(size_rows(results.sizes.get("experts", {}))),
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
    note: str | None = None,
    **content,
) -> ModelCard:
    """Fills the template, and adds front matter.

    Args:
        name: folder or Hub id that the examples in the card load.
        languages: Whisper's codes.
        base: folder or Hub id of the backbone.
        data_sets: Hub ids of the training data.
        teacher: folder or Hub id.
        results: entries of the Hub's model index.
        license: in the Hub's spelling.
        license_name: name of a licence that the Hub does not know (`license="other"`).
        license_link: address of such a licence.
        note: shown above all other text, as Markdown.
        content: further values of the template. All but `Markdown` are shown as text, whatever signs they have.
    """
    data = ModelCardData(
        # The Hub has codes of languages in the one field, and tags that say more in the other.
        language=list(dict.fromkeys(HUB_CODES.get(code, code) for code in map(primary, languages) if code)) or None,
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
    if tags := [str(code) for code in languages if is_tag(code)]:  # YAML takes no kinds of text
        setattr(data, "language_bcp47", tags)  # noqa: B010  # a field that huggingface_hub does not name
    values: dict[str, Any] = {
        "card_data": Markdown(data.to_yaml()),
        "digest_comment": Markdown(DIGEST_COMMENT),
        "title": name.split("/")[-1],
        "checkpoint": python_string(name),
        "language": python_string(languages[0]),
        "language_names": ", ".join(map(language_name, languages)),
        "base": link(base),
        "teacher": link(teacher) if teacher else None,
        "note": Markdown(note.replace("\n", "\n> ")) if note else None,
    }
    card = ModelCard(
        render_template(TEMPLATE.read_text(encoding="utf-8"), **content, **values), ignore_metadata_errors=True
    )
    card.data = data
    card.text = re.sub(r"\n{3,}", "\n\n", card.text).rstrip() + "\n"  # a part that is left out leaves blank lines
    return card


def save_card(card: ModelCard, path: str | Path) -> bool:
    """Writes a card, but does not overwrite a card that somebody edited or wrote.

    Args:
        card: from `card_of_run`.
        path: file to write, usually README.md in the folder of the model.

    Returns:
        Whether it wrote the card.

    Example:
        >>> import json, pathlib, tempfile
        >>> from modeling_distilwhisper import card_of_run, save_card
        >>> with open("model_cards/quickstart.json", encoding="utf-8") as file:
        ...     card = card_of_run(json.load(file), name="me/whisper-quickstart")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "README.md")
        ...     first, again = save_card(card, path), save_card(card, path)
        ...     _ = path.write_text(path.read_text(encoding="utf-8") + "A line by hand.", encoding="utf-8")
        ...     first, again, save_card(card, path)
        (True, True, False)
    """
    path = Path(path)
    if path.is_file() and is_edited(path.read_text(encoding="utf-8", errors="replace")):
        return False
    write_atomically(path, with_digest(str(card)))
    return True


def not_saved_message(path: str | Path) -> str:
    """The message for a card that `save_card` did not write."""
    return f"{path} was edited, or not written from results, and stays as it is. For a new card, delete or move it."


def with_digest(text: str) -> str:
    """The text of a card with its digest in `DIGEST_COMMENT`."""
    bare = DIGEST.sub("-", text, count=1)
    return DIGEST.sub(hashlib.sha256(bare.encode()).hexdigest(), bare, count=1)


def is_edited(text: str) -> bool:
    """Whether somebody wrote the card or changed anything in it."""
    return not DIGEST.search(text) or with_digest(text) != text


def teacher_precision(results: RunResults) -> str | None:
    """Precision of the teacher, if the results have it and it is not float32."""
    precision = results.teacher_precision or results.settings["model"].get("teacher_precision", "auto")
    precision = precision.removeprefix("torch.")
    return precision if precision not in ("auto", "float32") else None


def sizes(model: DistilWhisperForConditionalGeneration, folder: str | Path) -> dict:
    """Counts the parameters of a model, and the bytes of its expert files.

    Args:
        model: with its experts loaded.
        folder: where it was saved.

    Returns:
        `backbone`, its number of parameters; and `experts`, for each language: `parameters` of experts and gates,
        `rank` (0 for full experts), and `bytes` of the file in `folder`.
    """
    sizes = {}
    for language in model.config.languages or []:
        experts = list(model.experts_of(language).values())
        sizes[language] = {
            "parameters": count_parameters(experts),
            "rank": experts[0].rank,
            "bytes": Path(folder, expert_file_name(language)).stat().st_size,
        }
    backbone = model.num_parameters() - sum(size["parameters"] for size in sizes.values())
    return {"backbone": backbone, "experts": sizes}


def count_parameters(modules: Iterable[nn.Module]) -> int:
    """Number of parameters, such as those of a language's experts with their gates."""
    return sum(weights.numel() for module in modules for weights in module.parameters())


def hub_id(name: str) -> str | None:
    """The name if it may be a Hub id, such as "openai/whisper-small", and not a folder."""
    try:
        validate_repo_id(name)  # it refuses "../student": a folder, here or on another machine
    except HFValidationError:
        return None
    return name if "/" in name and not Path(name).is_dir() else None


def link(name: str) -> Markdown:
    """The name of a model in Markdown: a link to the Hub, or the last part of the path of a folder."""
    if hub_id(name):
        return Markdown(f"[{as_markdown(name)}](https://huggingface.co/{name})")
    return code_span(Path(name).name)


def hub_data_set(source: Source) -> str | None:
    """The Hub id of a corpus; of a release of Common Voice, the id that the Hub once had for it."""
    if source.reader == "fleurs":
        return fleurs.HUB_ID
    if source.reader == "hub":
        return hub_id(source.location)  # `None` if `{language}` is part of it
    release = re.search(r"cv-corpus-(\d+)\.(\d+)", source.location) if source.reader == "common_voice" else None
    return f"mozilla-foundation/common_voice_{release[1]}_{release[2]}" if release else None


def hub_names(data_set: str, language: str, source: Source | None) -> tuple[str, str]:
    """The Hub's names of a data set and of its configuration for a language; else names that the Hub accepts."""
    config = language
    if source is not None and source.reader == "fleurs":
        config = fleurs.CODES.get(language, language)
    elif source is not None and source.reader == "common_voice":
        config = common_voice.CODES.get(language, language)
    elif source is not None and source.reader == "hub":
        config = source.settings.get("config", language).replace("{language}", language)
    return (source and hub_data_set(source)) or file_name(data_set), config


__all__ = ["card_of_run", "count_parameters", "not_saved_message", "render", "save_card", "sizes"]
