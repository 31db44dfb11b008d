"""What a model card shows of results: scores of a run or an evaluation as records, and tables of them in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from huggingface_hub import EvalResult
from tabulate import tabulate
from transformers.models.whisper.tokenization_whisper import LANGUAGES

PLAIN, EARLIER, OURS = "without experts", "with earlier experts", "with experts"  # a run's systems in a card

Row = Mapping[str, str | float | int | bool | None]


def scores_of_run(results: Mapping) -> list[dict]:
    """Records with `data_set`, `split`, `language`, `system`, its rates and the student's `precision`, of a run."""
    precision = results["settings"]["model"].get("student_precision", "float32")
    return [
        {"data_set": data_set, "split": "test", "language": language, "system": name, **rates, "precision": precision}
        for name, scores in _scores_by_system(results).items()
        for data_set, own in scores.items()
        for language, rates in own.items()
    ]


def _scores_by_system(results: Mapping) -> dict[str, Mapping[str, Mapping[str, Row]]]:
    """By system, data set and language. A run that went on from experts had them when it was scored before training:
    there it is plain Whisper in other languages alone, and in those of the experts with every gate shut."""
    scores, settings = results.get("scores", {}), results["settings"]["model"]
    before, after, teacher = (scores.get(key, {}) for key in ("before", "after", "teacher"))
    if not settings.get("experts_from"):
        return {PLAIN: before, OURS: after, "teacher": teacher}
    shut, trained = scores.get("gates shut", {}), settings["languages"]
    plain, earlier = (
        {name: {code: rates for code, rates in own.items() if (code in trained) == had} for name, own in before.items()}
        for had in (False, True)
    )
    plain = {name: shut.get(name, {}) | plain.get(name, {}) for name in {**shut, **plain}}
    return {PLAIN: plain, EARLIER: earlier, OURS: after, "teacher": teacher}


def scores_of_evaluation(summary: Mapping, system: str) -> list[dict]:
    """The same of what `run_eval.py` scored; `system`, the model that the card is of, comes first.

    Raises:
        ValueError: the model is not among those scored, or translations were scored.
    """
    rows = summary["scores"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    if system not in systems:
        raise ValueError(f"The evaluation has no model {system!r}. It has: {', '.join(systems)}.")
    if any("wer" not in row for row in rows):
        raise ValueError("The evaluation is of translations. Expected one of transcripts, with error rates.")
    rows = [{**row, "precision": summary.get("precision", "float32")} for row in rows]
    own = [row | {"system": OURS} for row in rows if row["system"] == system]
    return own + [row for row in rows if row["system"] != system]


def eval_results(
    scores: Iterable[Row], trained: Sequence[str], place_of: Callable[[str, str], tuple[str, str]]
) -> list[EvalResult]:
    """The model's WER and CER in the languages that it was trained on, as entries of the Hub's model index.

    An entry has no place for an interval, nor for a precision: they stand in the metric's name.

    Args:
        place_of: what the Hub calls a data set and its part in a language.
    """
    found = []
    for score in scores:
        if score["system"] != OURS or score["language"] not in trained:
            continue
        data_set, config = place_of(score["data_set"], score["language"])
        about = f"{score['words']} words, normaliser {score['normalizer']}"
        if score["precision"] != "float32":
            about += f", precision {score['precision']}"
        sure = f"95 % interval {interval_text(score)}; " if score.get("wer_low") is not None else ""
        for metric, name in {"wer": f"WER in % ({sure}{about})", "cer": f"CER in % ({about})"}.items():
            found.append(
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
    return found


def score_tables(scores: Sequence[Row], trained: Sequence[str]) -> list[dict[str, str]]:
    """A table for each data set and split: a row a language, WER with its interval for each system.

    Returns:
        `data_set`, `title`, `normalizers`, `precisions` (of scores that are not in float32) and `table` of each.
    """
    tables = []
    for data_set, split in dict.fromkeys((score["data_set"], score["split"]) for score in scores):
        own = [score for score in scores if (score["data_set"], score["split"]) == (data_set, split)]
        systems = sorted(dict.fromkeys(score["system"] for score in own), key=lambda name: name == OURS)
        rows = []
        languages = dict.fromkeys(score["language"] for score in own)
        for language in sorted(languages, key=lambda code: code not in trained):
            by_system = {score["system"]: score for score in own if score["language"] == language}
            some = next(iter(by_system.values()))
            name = language_name(language) + ("" if language in trained else ", not trained")
            row = {"language": name, "utterances": some["utterances"], "words": some["words"]}
            row |= {system: percent(by_system.get(system)) for system in systems}
            if OURS in by_system:
                row[f"CER {OURS}"] = f"{100 * by_system[OURS]['cer']:.1f}"
            rows.append(row)
        table = {"data_set": data_set, "title": _title(data_set, split), "table": table_of(rows)}
        table["normalizers"] = sorted({score["normalizer"] for score in own})
        tables.append(table | {"precisions": sorted({score["precision"] for score in own} - {"float32"})})
    return tables


def readable_differences(summary: Mapping, system: str | None) -> list[Row]:
    """What the model's WER is above that of the others on the same utterances, in points."""
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


def data_rows(amounts: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Utterances and hours of train and validation, a row for each corpus and language."""
    rows: dict[tuple[str, str], dict] = {}
    for title, own in amounts.items():
        corpus, split, language = title.rsplit(" ", 2)
        if split != "test":
            row = rows.setdefault((corpus, language), {"corpus": corpus, "language": language_name(language)})
            row |= {f"{split}, utterances": own["rows"], f"{split}, hours": f"{own['hours']:.2f}"}
    return list(rows.values())


def usage_rows(usage: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """The share of tokens that takes the expert at inference, in %, by language and side."""
    return [
        {"language": language_name(language)}
        | {side: f"{100 * shares[side]:.0f}" for side in ("encoder", "decoder", "all")}
        for language, shares in usage.items()
    ]


def ranks_of(results: Mapping) -> dict[str, int]:
    """The rank of each language's experts, as far as it is told; full ones are left out."""
    settings, sizes = results["settings"]["model"], results.get("sizes", {}).get("experts", {})
    ranks = {code: sizes.get(code, settings).get("rank", settings["expert_rank"]) for code in settings["languages"]}
    return {code: rank for code, rank in ranks.items() if rank}


def size_rows(experts: Mapping[str, Mapping[str, int]]) -> list[Row]:
    return [
        {
            "language": language_name(language),
            "parameters, M": f"{own['parameters'] / 1e6:.2f}",
            "file, MB": f"{own['bytes'] / 1e6:.1f}",
        }
        for language, own in experts.items()
    ]


def table_of(rows: Sequence[Row]) -> str:
    """A table in Markdown; empty where there are no rows.

    Raises:
        ValueError: the rows are no flat mappings.
    """
    if not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("Expected rows of a table: a list of mappings from a column's name to its value.")
    cells = [{str(name).replace("|", "\\|"): _cell(value) for name, value in row.items()} for row in rows]
    return tabulate(cells, headers="keys", tablefmt="github", disable_numparse=True, missingval="-")


def _title(data_set: str, split: str) -> str:
    return data_set if split == "test" else f"{data_set}, {split}"


def _cell(value) -> str | None:
    if isinstance(value, Mapping | list):
        raise ValueError(f"Expected a number or text in each cell of a table, got {value!r}.")
    if value is None or value != value:
        return None
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def interval_text(score: Row) -> str:
    return f"{100 * score['wer_low']:.1f} to {100 * score['wer_high']:.1f}"


def percent(score: Row | None) -> str | None:
    """WER in % with its 95 % interval."""
    if score is None:
        return None
    return f"{100 * score['wer']:.1f}" + (f" ({interval_text(score)})" if score.get("wer_low") is not None else "")


def language_name(code: str) -> str:
    """As in "Catalan (ca)"."""
    return f"{LANGUAGES[code].title()} ({code})" if code in LANGUAGES else code
