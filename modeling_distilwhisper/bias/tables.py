"""The tables of sections 3.2 and 3.3, with intervals, tests and the size of each cell, which the report's do not have.

Rates and shares are in percent, differences in points of percent, as in the report.
"""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from ..evaluation.languages import RESOURCE_CLASSES, transcription_hours
from ..evaluation.metrics import bootstrap_interval, ratio
from .groups import in_order, is_too_small, parameters_of, size_name
from .sentences import CHANGES, by_gender_of_sentence, column, unit_sums
from .statistics import adjusted, histograms_differ, rates_differ, share_interval, shuffle_test

SYSTEM = ["data_set", "model", "precision"]
RESOURCES = [*SYSTEM, "resource", "wer", "languages", "which", "rho", "p"]
GENDERS = [*SYSTEM, "language", "resource", "measure", "female", "male", "difference", "low", "high", "p", "too small"]
CLASSES = [*SYSTEM, "by", "group", *CHANGES, "before", "after", "new loops", "utterances", "units", "too small"]
TESTS = [*SYSTEM, "by", "groups", "unit", "units", "p before", "p change"]


def language_table(sentences: pd.DataFrame) -> pd.DataFrame:
    """WER by language (figures 2, 3 and 6), sorted by WER within each system.

    Returns:
        Columns of `SYSTEM`, `language`, `resource`, `hours` (in Whisper's training data), `wer`, `low` and `high` (its
        95 % interval), `utterances`, `units`, `words`, `counted` (words or characters), `too small`.
    """
    rows = []
    for (*system, language), utterances in sentences.groupby([*SYSTEM, "language"], sort=False):
        sums = unit_sums(utterances, ["errors", "words"])
        errors, words = column(sums, "errors"), column(sums, "words")
        low, high = bootstrap_interval(ratio, (errors, words)) or (np.nan, np.nan)
        rows.append(
            {
                **dict(zip(SYSTEM, system, strict=True)),
                "language": language,
                "resource": utterances["resource"].iloc[0],
                "hours": transcription_hours().get(language, 0.0),
                "wer": 100 * ratio(errors, words),
                "low": 100 * low,
                "high": 100 * high,
                **_sizes(utterances),
                "words": int(words.sum()),
                "counted": utterances["counted"].iloc[0],
            }
        )
    return pd.DataFrame(rows).sort_values([*SYSTEM, "wer"], ignore_index=True)


def resource_table(languages: pd.DataFrame) -> pd.DataFrame:
    """Mean WER of the languages of each resource class (Table 3), and the correlation of WER and hours.

    Args:
        languages: of `language_table`. Cells that are too small are left out.

    Returns:
        A row for each system and class: number of `languages`, `which` they are, and `wer`, the mean over them; also
        `rho` and `p`, Spearman's correlation of hours and WER over all languages of the system.
    """
    rows = []
    for system, system_rows in languages[~languages["too small"]].groupby(SYSTEM, sort=False):
        rho = p = np.nan
        # A constant has no correlation, and two languages are always in some order.
        if len(system_rows) > 2 and system_rows["hours"].nunique() > 1:
            rho, p = spearmanr(system_rows["hours"], system_rows["wer"])
        for resource in in_order(system_rows["resource"]):
            members = system_rows[system_rows["resource"] == resource]
            row = dict(zip(SYSTEM, system, strict=True)) | {"resource": resource, "wer": members["wer"].mean()}
            row |= {"languages": len(members), "which": " ".join(sorted(members["language"]))}
            rows.append(row | {"rho": rho, "p": p})
    return _table(rows, RESOURCES)


def gender_table(sentences: pd.DataFrame) -> pd.DataFrame:
    """Difference of WER between women and men (figures 4 and 5), positive if WER is higher for women.

    In balanced corpora it is relative, on the same sentences: `200 (female - male) / (female + male)` (Boito et al.,
    2022); several recordings of a sentence by one gender are averaged first. In other corpora it is absolute
    (Costa-jussà et al., 2022).

    Returns:
        Columns of `SYSTEM`, `language`, `resource`, `measure` (relative or absolute), `female` and `male` (WER),
        `difference` with `low` and `high`, `p` and `p adjusted` (for the number of languages of a system),
        `utterances` and `units` of the smaller gender, `too small`.
    """
    rows = []
    known = sentences[sentences["gender"].isin(("female", "male"))]
    for (*system, language), utterances in known.groupby([*SYSTEM, "language"], sort=False):
        if utterances["gender"].nunique() < 2:
            continue
        balanced = bool(utterances["balanced"].iloc[0])
        result = _on_same_sentences(utterances) if balanced else _of_speakers(utterances)
        if result is None:
            continue
        sizes = [_sizes(part) for _, part in utterances.groupby("gender")]
        smaller = min(sizes, key=lambda size: (not size["too small"], size["utterances"]))
        row = dict(zip(SYSTEM, system, strict=True))
        row |= {"language": language, "resource": utterances["resource"].iloc[0]}
        rows.append(row | {"measure": "relative" if balanced else "absolute", **result, **smaller})
    table = _table(rows, GENDERS)
    tested = table["p"].where(~table["too small"].astype(bool))
    table["p adjusted"] = tested.groupby([table[name] for name in SYSTEM]).transform(adjusted)
    return table


def class_table(changes: pd.DataFrame, by: str) -> pd.DataFrame:
    """Shares of sentences that compression made worse, left similar, or made better, by group (figures 7 to 12).

    Args:
        changes: of `change_table`.
        by: one of `GROUPINGS`. An accent with too few utterances is left out (section 3.1.1).

    Returns:
        Columns `data_set`, `model` ("all" if models are the groups), `precision`, `by`, `group`; for each of `CHANGES`
        its share with `low` and `high`; `before` and `after`, the WER of these sentences; `new loops`, the number of
        transcripts that now repeat themselves without end (a share hardly shows them, and WER exaggerates them);
        `utterances`, `units`, `too small`.
    """
    rows = []
    for (data_set, model, precision), utterances in _systems(changes, by):
        for group in _groups_in(utterances, by):
            group_utterances = utterances[utterances[by] == group]
            sums = unit_sums(group_utterances, [*CHANGES, "errors", "errors_before", "words"])
            total = column(sums, list(CHANGES)).sum(axis=1)
            row = {"data_set": data_set, "model": model, "precision": precision, "by": by, "group": group}
            for change in CHANGES:
                low, high = share_interval(column(sums, change), total)
                share = 100 * ratio(column(sums, change), total)
                row |= {change: share, f"{change} low": 100 * low, f"{change} high": 100 * high}
            words = column(sums, "words")
            row["before"] = 100 * ratio(column(sums, "errors_before"), words)
            row["after"] = 100 * ratio(column(sums, "errors"), words)
            row |= {"new loops": int(group_utterances["new loops"].sum()), **_sizes(group_utterances)}
            if by != "accent" or not row["too small"]:
                rows.append(row)
    return _table(rows, CLASSES)


def group_tests(changes: pd.DataFrame, classes: pd.DataFrame) -> pd.DataFrame:
    """Tests whether groups differ in WER before compression, and in the changes by compression (shares of `CHANGES`).

    Args:
        changes: of `change_table`.
        classes: of `class_table`, for all groupings. Cells that are too small are not tested.

    Returns:
        A row for each data set, model, precision and grouping of two groups or more: `groups`, `unit` (kind of unit
        that is shuffled), `units` (their number), `p before` and `p change`, and both adjusted for the number of rows.
    """
    rows = []
    large, keys = classes[~classes["too small"].astype(bool)], [*SYSTEM, "by"]
    bar = tqdm(list(large.groupby(keys, sort=False)), desc="Testing groups", leave=False)
    for (data_set, model, precision, by), cells in bar:
        if len(cells) < 2:
            continue
        utterances = changes[(changes["data_set"] == data_set) & (changes["precision"] == precision)]
        utterances = utterances[
            utterances[by].isin(cells["group"]) & ((utterances["model"] == model) | (by == "model"))
        ]
        if by == "accent":  # only accents of one language can be compared
            utterances = utterances[utterances.groupby("language")["accent"].transform("nunique") > 1]
            if utterances.empty:
                continue
        units, name = _test_units(utterances, by)
        groups, strata = units[by].to_numpy(str), units["stratum"].to_numpy(str)
        before, change = column(units, ["errors_before", "words"]), column(units, list(CHANGES))
        row = dict(zip(keys, (data_set, model, precision, by), strict=True))
        row |= {"groups": ", ".join(in_order(cells["group"])), "unit": name, "units": units["drawn"].nunique()}
        row["p before"] = shuffle_test(before, groups, strata, rates_differ)
        row["p change"] = shuffle_test(change, groups, strata, histograms_differ)
        rows.append(row)
    table = _table(rows, TESTS)
    for name in ("p before", "p change"):
        table[f"{name}, adjusted"] = adjusted(table[name])
    return table


def _test_units(utterances: pd.DataFrame, by: str) -> tuple[pd.DataFrame, str]:
    """The units that a test shuffles, and the name of their kind.

    A row has the sums of a unit and group, its `stratum`, and `drawn`, the name of the unit: rows of one name are not
    independent.
    """
    sums = ["errors_before", "words", *CHANGES]
    if by == "resource":  # each language has the same weight
        units = utterances.groupby(["language", by], sort=True)[sums].sum().reset_index()
        units[["errors_before", "words"]] = units[["errors_before", "words"]].div(units["words"], axis=0)
        units[list(CHANGES)] = units[list(CHANGES)].div(units[list(CHANGES)].sum(axis=1), axis=0)
        return units.assign(stratum="all", drawn=units["language"]), "language"
    same_sentences = by == "gender" and utterances["balanced"].all()
    units = utterances.groupby(["unit", "language", by] if by != "language" else ["unit", by], sort=True)[sums]
    # Means, because a hard sentence that two women and one man have read would otherwise count against women.
    units = (units.mean() if same_sentences else units.sum()).reset_index()
    stratum_column = "unit" if by == "model" or same_sentences else "language"
    stratum = "all" if by == "language" else units[stratum_column]
    return units.assign(stratum=stratum, drawn=units["unit"]), utterances["kind"].iloc[0]


def _on_same_sentences(utterances: pd.DataFrame) -> dict | None:
    means = by_gender_of_sentence(utterances)
    if len(means) < 2:
        return None
    (female_errors, female_words), (male_errors, male_words) = (
        (column(means, ("errors", gender)), column(means, ("words", gender))) for gender in ("female", "male")
    )
    samples = female_errors, female_words, male_errors, male_words
    low, high = bootstrap_interval(_relative, samples) or (np.nan, np.nan)
    sums = np.stack([np.append(female_errors, male_errors), np.append(female_words, male_words)], axis=1)
    groups = np.repeat(["female", "male"], len(means))
    p = shuffle_test(sums, groups, np.tile(means.index.to_numpy(str), 2), rates_differ)
    wers = {"female": 100 * ratio(female_errors, female_words), "male": 100 * ratio(male_errors, male_words)}
    return wers | {"difference": float(_relative(*samples)), "low": low, "high": high, "p": p}


def _of_speakers(utterances: pd.DataFrame) -> dict | None:
    sums = unit_sums(utterances, ["errors", "words"], by=["gender"])
    errors, words, genders = column(sums, "errors"), column(sums, "words"), sums["gender"].to_numpy(str)
    positions = [np.flatnonzero(genders == gender) for gender in ("female", "male")]
    if min(map(len, positions)) < 2:
        return None

    def difference(female: np.ndarray, male: np.ndarray, axis: int = -1) -> np.ndarray:
        rates = [ratio(errors[chosen], words[chosen], axis) for chosen in (female.astype(int), male.astype(int))]
        return 100 * (np.asarray(rates[0]) - rates[1])

    low, high = bootstrap_interval(difference, positions, paired=False) or (np.nan, np.nan)
    female, male = (100 * ratio(errors[chosen], words[chosen]) for chosen in positions)
    p = shuffle_test(np.stack([errors, words], axis=1), genders, np.zeros(len(genders)), rates_differ)
    return {"female": female, "male": male, "difference": female - male, "low": low, "high": high, "p": p}


def _relative(female_errors, female_words, male_errors, male_words, axis: int = -1) -> np.ndarray:
    female = np.asarray(ratio(female_errors, female_words, axis))
    male = np.asarray(ratio(male_errors, male_words, axis))
    return 200 * (female - male) / np.maximum(female + male, 1e-12)


def _table(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    """A table of the rows; without rows, an empty one with these columns."""
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _sizes(cell: pd.DataFrame) -> dict[str, int | bool]:
    utterances, units = len(cell), cell["unit"].nunique()
    return {"utterances": utterances, "units": units, "too small": is_too_small(utterances, units)}


def _systems(changes: pd.DataFrame, by: str):
    if by != "model":
        yield from changes.groupby(SYSTEM, sort=False)
        return
    for (data_set, precision), utterances in changes.groupby(["data_set", "precision"], sort=False):
        yield (data_set, "all", precision), utterances


def _groups_in(utterances: pd.DataFrame, by: str) -> list[str]:
    groups = [group for group in utterances[by].unique() if group]
    if by == "model":
        return models_by_size(utterances)
    if by == "resource":
        return [name for name in (*RESOURCE_CLASSES, "unknown") if name in groups]
    return in_order(groups)


def models_by_size(frame: pd.DataFrame) -> list[str]:
    """Names of models, the smallest first."""
    sizes = model_parameters(frame)
    return sorted(sizes, key=lambda model: (sizes[model], model))


def model_parameters(frame: pd.DataFrame) -> dict[str, int]:
    """About how many parameters each model has."""
    return {model: parameters_of(shape) for model, shape in zip(frame["model"], frame["shape"], strict=True)}


def model_sizes(frame: pd.DataFrame) -> dict[str, str]:
    """Whisper's name of each model's size, the smallest first."""
    shapes = dict(zip(frame["model"], frame["shape"], strict=True))
    return {model: size_name(shapes[model]) for model in models_by_size(frame)}
