"""The contents of a model card: scores of a run or an evaluation as records, and tables in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from huggingface_hub import EvalResult
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from ..runs.results import DataRecord, RunResults
from .markdown import Row, code_spans, table_of

PLAIN, EARLIER, OURS = "without experts", "with earlier experts", "with experts"  # the systems of a run, in a card

# What a rule of scores does, for readers of a card; by its name in the scores.
RULES = {
    "marks": "lower case, no punctuation, combining marks kept",
    "marks-2": "lower case by language, no punctuation, combining marks kept, one code point for each sign",
    "report": "Whisper's basic normaliser, with the report's change for scripts without spaces",
}


def scores_of_run(results: RunResults) -> list[dict]:
    """The scores of a run as records: `data_set`, `split`, `language`, `system`, error rates, and `precision`."""
    precision = results.settings["model"].get("student_precision", "float32")
    return [
        {"data_set": data_set, "split": "test", "language": language, "system": name, **rates, "precision": precision}
        for name, scores in _scores_by_system(results).items()
        for data_set, by_language in scores.items()
        for language, rates in by_language.items()
    ]


def _scores_by_system(results: RunResults) -> dict[str, Mapping[str, Mapping[str, Mapping]]]:
    """Scores by system, data set and language.

    A run that continued earlier experts had them when it was scored before training. Then the scores "before" are of
    plain Whisper only in other languages; in the languages of the experts, those with closed gates are.
    """
    scores, settings = results.scores, results.settings["model"]
    before, after, teacher = (scores.get(key, {}) for key in ("before", "after", "teacher"))
    if not settings.get("experts_from"):
        return {PLAIN: before, OURS: after, "teacher": teacher}
    closed, trained = scores.get("gates closed", {}), settings["languages"]
    others, earlier = (
        {
            data_set: {code: rates for code, rates in by_language.items() if (code in trained) == is_trained}
            for data_set, by_language in before.items()
        }
        for is_trained in (False, True)
    )
    plain = {data_set: closed.get(data_set, {}) | others.get(data_set, {}) for data_set in {**closed, **others}}
    return {PLAIN: plain, EARLIER: earlier, OURS: after, "teacher": teacher}


def scores_of_evaluation(summary: Mapping, system: str | None) -> list[dict]:
    """The scores of an evaluation, as records of the same form. Those of `system`, the model of the card, come first.

    Raises:
        ValueError: the evaluation has no such model, or it is of translations.
    """
    rows = summary["scores"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    if system not in systems:
        raise ValueError(f"The evaluation has no model {system!r}. It has: {', '.join(systems)}.")
    if any("wer" not in row for row in rows):
        raise ValueError("The evaluation is of translations. Expected one of transcripts, with error rates.")
    rows = [{**row, "precision": summary.get("precision", "float32")} for row in rows]
    ours = [row | {"system": OURS} for row in rows if row["system"] == system]
    return ours + [row for row in rows if row["system"] != system]


def eval_results(
    scores: Iterable[Mapping], trained: Sequence[str], hub_names: Callable[[str, str], tuple[str, str]]
) -> list[EvalResult]:
    """WER and CER of the model in the languages that it was trained on, as entries of the Hub's model index.

    An entry has no field for an interval or a precision: the name of the metric has them.

    Args:
        scores: records of `scores_of_run` or `scores_of_evaluation`.
        trained: codes of the languages.
        hub_names: the Hub's names of a data set and of its configuration for a language.
    """
    entries = []
    for score in scores:
        if score["system"] != OURS or score["language"] not in trained:
            continue
        data_set, config = hub_names(score["data_set"], score["language"])
        details = f"{amount(score)}, normaliser {score['normalizer']}"
        if score["precision"] != "float32":
            details += f", precision {score['precision']}"
        interval = f"95 % interval {interval_text(score)}; " if score.get("wer_low") is not None else ""
        for metric, name in {"wer": f"WER in % ({interval}{details})", "cer": f"CER in % ({details})"}.items():
            entries.append(
                EvalResult(
                    task_type="automatic-speech-recognition",
                    task_name="Speech recognition",
                    dataset_type=data_set,
                    dataset_name=f"{score['data_set']}, {language_name(score['language'])}",
                    dataset_config=config,
                    dataset_split=score["split"],
                    metric_type=metric,
                    metric_name=name,
                    metric_value=round(100 * score[metric], 2),
                )
            )
    return entries


def score_tables(scores: Sequence[Mapping], trained: Sequence[str]) -> list[dict]:
    """Makes a table for each data set and split. A row is a language; each system has its WER with the interval.

    Returns:
        For each table: `data_set`, `title`, `table`, and as code `normalizers`, and `precisions` other than float32.
    """
    tables: list[dict] = []
    for data_set, split in dict.fromkeys((score["data_set"], score["split"]) for score in scores):
        chosen = [score for score in scores if (score["data_set"], score["split"]) == (data_set, split)]
        systems = sorted(dict.fromkeys(score["system"] for score in chosen), key=lambda name: name == OURS)
        rows = []
        languages = dict.fromkeys(score["language"] for score in chosen)
        for language in sorted(languages, key=lambda code: code not in trained):
            by_system = {score["system"]: score for score in chosen if score["language"] == language}
            first = next(iter(by_system.values()))
            name = language_name(language) + ("" if language in trained else ", not trained")
            row = {"language": name, "utterances": first["utterances"]}
            row["words"] = first["words"] if unit_of(first) == "words" else amount(first)
            row |= {system: percent(by_system.get(system)) for system in systems}
            if OURS in by_system:
                row[f"CER {OURS}"] = f"{100 * by_system[OURS]['cer']:.1f}"
            rows.append(row)
        table = {"data_set": data_set, "title": _title(data_set, split), "table": table_of(rows)}
        table["normalizers"] = code_spans(sorted({score["normalizer"] for score in chosen}))
        table["precisions"] = code_spans(sorted({score["precision"] for score in chosen} - {"float32"}))
        tables.append(table)
    return tables


def readable_differences(summary: Mapping, system: str | None) -> list[Row]:
    """WER of the model minus that of each other model on the same utterances, in points."""
    return [
        {
            "data set": _title(row["data_set"], row["split"]),
            "language": language_name(row["language"]),
            "against": row["less that of"],
            "points of WER": f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})",
            "beyond chance": "yes" if row["real"] else "no",
        }
        for row in summary.get("differences", [])
        if row["of"] == system
    ]


def data_rows(records: Iterable[DataRecord]) -> list[Row]:
    """Utterances and hours of train and validation: a row for each corpus and language."""
    rows: dict[tuple[str, str], dict] = {}
    for record in records:
        if record.split != "test":
            first = {"corpus": record.data_set, "language": language_name(record.language)}
            row = rows.setdefault((record.data_set, record.language), first)
            row |= {f"{record.split}, utterances": record.rows, f"{record.split}, hours": f"{record.hours:.2f}"}
    return list(rows.values())


def usage_rows(usage: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Expert usage at inference in %, by language and side."""
    return [
        {"language": language_name(language)}
        | {side: f"{100 * shares[side]:.0f}" for side in ("encoder", "decoder", "all")}
        for language, shares in usage.items()
    ]


def ranks_of(results: RunResults) -> dict[str, int]:
    """The rank of the experts of each language that has low-rank ones, from the sizes of the run or its settings."""
    settings, sizes = results.settings["model"], results.sizes.get("experts", {})
    ranks = {code: sizes.get(code, settings).get("rank", settings["expert_rank"]) for code in settings["languages"]}
    return {code: rank for code, rank in ranks.items() if rank}


def size_rows(experts: Mapping[str, Mapping[str, int]]) -> list[Row]:
    """Parameters of the experts of each language, and the size of their file."""
    return [
        {
            "language": language_name(language),
            "parameters, M": f"{size['parameters'] / 1e6:.2f}",
            "file, MB": f"{size['bytes'] / 1e6:.1f}",
        }
        for language, size in experts.items()
    ]


def _title(data_set: str, split: str) -> str:
    return data_set if split == "test" else f"{data_set}, {split}"


def unit_of(score: Mapping) -> str:
    """What the WER of a score counts; earlier versions, which do not say it, counted words."""
    return score.get("unit", "words")


def amount(score: Mapping) -> str:
    """On how much a score rests, such as "900 words"."""
    return f"{score['words']} {unit_of(score)}"


def interval_text(score: Mapping) -> str:
    """The 95 % interval of WER in %, such as "20.1 to 24.3"."""
    return f"{100 * score['wer_low']:.1f} to {100 * score['wer_high']:.1f}"


def percent(score: Mapping | None) -> str | None:
    """WER in % with its 95 % interval, such as "22.2 (20.1 to 24.3)"."""
    if score is None:
        return None
    return f"{100 * score['wer']:.1f}" + (f" ({interval_text(score)})" if score.get("wer_low") is not None else "")


def language_name(code: str) -> str:
    """Name and code, such as "Catalan (ca)"; the code alone if Whisper does not know it."""
    return f"{LANGUAGES[code].title()} ({code})" if code in LANGUAGES else code
