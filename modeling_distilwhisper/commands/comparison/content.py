"""What a comparison measured, as `comparison.json`: all that its tables are made of, and how to make it again."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ...evaluation.metrics import ErrorCounts, count_errors
from ...evaluation.seeds import Errors, errors_of, paired_difference
from ...evaluation.transcription import RECORD
from ...runs.old_names import read_json
from ...runs.origin import origin
from ...runs.records import RecordFile
from ...runs.results import ALL_STARTS, SUMMARY, RunResults
from .plan import Plan, Run
from .runs import transcripts

GATES = {"gates open": "open", "gates closed": "closed"}  # scores of a run, by what they are called in its results
# An absolute path within a text, such as that in `name=/home/me/data/{language}?train=100`.
PATH = re.compile(r"(?:(?<=^)|(?<=[=:\s]))(?:/(?!/)|~[^/\s]*/|[A-Za-z]:[\\/]|\\\\)[^\s?]+")

Cell = tuple[str, str, str]  # data set, split, language
Utterances = dict[tuple[str, str, str], Errors]  # by data set, language and id
Row = dict[str, Any]


def content_of(plan: Plan, results: Mapping[str, RunResults], command: str) -> dict[str, Any]:
    """The content of `comparison.json`. It holds no path of this machine.

    Args:
        plan: the comparison.
        results: of each run, by the name of its model.
        command: that made it.
    """
    summary = read_json(plan.folder / "scores/summary.json", SUMMARY)["scores"]
    scores, errors = [], {}
    for model, names in models_of(plan).items():
        rows = [row for row in summary if row["system"] == model]
        scored = [score(plan, row, model) for row in rows]
        scores += [names | one for one, _ in scored]
        errors[names["system"], names.get("seed")] = {key: one for _, own in scored for key, one in own.items()}
    scores += [row for run in plan.runs for row in forced_scores(run, results[run.model])]
    first = next(iter(results.values()))
    content = {
        "title": plan.title,
        "command": command,
        "file": plan.content,
        "settings": plan.shared,
        "languages": plan.shared["languages"],
        "forced_gates": plan.forced_gates,
        "scored": origin(),
        "data": [asdict(record) for record in first.data],
        "runs": [record_of(run, results[run.model], plan.folder / run.name) for run in plan.runs],
        "scores": scores,
        "differences": differences(plan, errors),
    }
    return without_absolute_paths(content)


def models_of(plan: Plan) -> dict[str, Row]:
    """`system` and, where it has one, `seed` of each model that is scored."""
    named = {run.model: {"system": run.system} | ({} if run.seed is None else {"seed": run.seed}) for run in plan.runs}
    return {name: {"system": name} for name in plan.untrained} | named


def record_of(run: Run, results: RunResults, folder: Path) -> Row:
    """Settings, origin, minutes, expert usage and sizes of a run."""
    settings = {name: value for name, value in run.settings.items() if name != "seed"}
    minutes = {
        "minutes": results.minutes,
        "minutes of": "all starts" if ALL_STARTS in results.training else "last start",
    }
    return {
        "system": run.system,
        "seed": results.settings.get("training", {}).get("seed", run.seed),
        "settings": settings,
        **minutes,
        **results.origin,
        "expert usage": results.expert_usage,
        "saved weights": saved_weights(folder),
        "sizes": results.sizes,
        "best by language": results.best_by_language,
    }


def score(plan: Plan, row: Mapping, model: str) -> tuple[Row, Utterances]:
    """A row of scores with its counts, and the errors of each utterance, from the transcripts of the evaluation.

    Raises:
        ValueError: the file holds transcripts of other rows than the evaluation scored.
    """
    file = transcripts(plan, row, model)
    records = RecordFile(file).read(RECORD)
    if len(records) != row["utterances"]:
        raise ValueError(
            f"{file} has {len(records)} transcripts, and {row['utterances']} rows were scored: the data behind a name "
            f"has changed. Delete {file} and start again."
        )
    records.sort(key=lambda record: record["id"])
    references, hypotheses = ([record[name] for record in records] for name in ("reference", "hypothesis"))
    counts = count_errors(references, hypotheses, plan.shared.get("normalizer", "marks"), row["language"])
    cell = {name: row[name] for name in ("data_set", "split", "language")}
    names = [(row["data_set"], row["language"], record["id"]) for record in records]
    return cell | rates_of(counts), dict(zip(names, errors_of(counts), strict=True))


def rates_of(counts: ErrorCounts) -> Row:
    """`ErrorCounts.rates` with the ends of the WER's interval, and with counts of utterances in place of shares."""
    low, high = counts.wer_interval() or (None, None)
    rates = {name: rate for name, rate in counts.rates().items() if name not in ("loop_rate", "empty_rate")}
    return rates | {
        "errors": int(counts.errors.sum()),
        "loops": int(counts.loops.sum()),
        "empty": int(counts.empty.sum()),
        "wer_low": low,
        "wer_high": high,
    }


def forced_scores(run: Run, results: RunResults) -> list[Row]:
    """A row of scores of the run for each data set and trained language, with all gates open and with all closed."""
    names: Row = {"system": run.system} | ({} if run.seed is None else {"seed": run.seed})
    return [
        names | {"gates": state, "data_set": data_set, "split": "test", "language": language, **rates}
        for title, state in GATES.items()
        for data_set, by_language in results.scores.get(title, {}).items()
        for language, rates in by_language.items()
    ]


def differences(plan: Plan, errors: Mapping[tuple[str, int | None], Utterances]) -> list[Row]:
    """Paired differences of the systems of `plan.pairs`, over all seeds, for each data set and group of languages."""
    trained, rows = plan.shared["languages"], []
    some = next(iter(errors.values()))
    groups = dict.fromkeys((data_set, language in trained) for data_set, language, _ in some)
    for first, second in plan.pairs:
        for group in groups:
            pairs = [
                (of_group(one, group, trained), of_group(other, group, trained))
                for one, other in seed_by_seed(first, second, errors)
            ]
            compared = paired_difference(pairs)
            if compared is not None:
                row: Row = {"of": first, "less that of": second, "data_set": group[0]}
                row["languages"] = "trained" if group[1] else "other languages"
                value = compared.difference
                row |= {"difference": value.wer, "low": value.low, "high": value.high, "real": value.is_real}
                rows.append(row | {"clips": compared.recordings, "runs": compared.runs, "words": compared.words})
    return rows


def of_group(errors: Utterances, group: tuple[str, bool], trained: list[str]) -> Utterances:
    """The errors in a data set, in the languages that were trained or in the others."""
    return {key: one for key, one in errors.items() if (key[0], key[1] in trained) == group}


def seed_by_seed(
    first: str, second: str, errors: Mapping[tuple[str, int | None], Utterances]
) -> Iterable[tuple[Utterances, Utterances]]:
    """The errors of two systems for each seed. An untrained model, which has none, stands beside each seed."""
    found = dict.fromkeys(seed for system, seed in errors if system in (first, second))
    seeds: list[int | None] = [seed for seed in found if seed is not None]
    for seed in seeds or [None]:
        pair = [errors.get((system, seed), errors.get((system, None))) for system in (first, second)]
        if pair[0] is not None and pair[1] is not None:
            yield pair[0], pair[1]


def saved_weights(folder: Path) -> int:
    """Numbers in the files of a training: experts and gates, an adapter, or the complete model."""
    files = [*folder.glob("expert.*.safetensors"), *folder.glob("adapter_model.safetensors")]
    total = 0
    for path in files or folder.glob("model*.safetensors"):
        with safe_open(path, "pt") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())
    return total


def without_absolute_paths(value: Any) -> Any:
    """A value of JSON in which absolute paths keep only their last part, and the one before a `{language}`.

    Example:
        >>> without_absolute_paths(["mine=/home/me/data/{language}?train=9", "/home/me/whisper", "openai/whisper-base"])
        ['mine=data/{language}?train=9', 'whisper', 'openai/whisper-base']
    """
    if isinstance(value, Mapping):
        return {key: without_absolute_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_absolute_paths(one) for one in value]
    return PATH.sub(_shortened, value) if isinstance(value, str) else value


def _shortened(path: re.Match) -> str:
    parts = [part for part in re.split(r"[\\/]", path[0]) if part]
    return "/".join(parts[-2:] if "{language}" in parts[-1] else parts[-1:])
