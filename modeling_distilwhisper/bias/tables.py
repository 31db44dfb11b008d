"""The tables of sections 3.2 and 3.3, with what the report lacks: intervals, tests, and how large each cell is.

Rates, shares and differences are in percent or points of percent, as the report has them.
"""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from ..evaluation.languages import RESOURCE_CLASSES, transcription_hours
from ..evaluation.metrics import interval, ratio
from .groups import in_order, is_too_small, size_name
from .sentences import CHANGES, by_gender_of_sentence, column, unit_sums
from .statistics import adjusted, histograms_differ, rates_differ, share_interval, shuffle_test

SYSTEM = ["data_set", "model", "precision"]
RESOURCES = [*SYSTEM, "resource", "wer", "languages", "which", "rho", "p"]
GENDERS = [*SYSTEM, "language", "resource", "measure", "female", "male", "difference", "low", "high", "p", "too small"]
CLASSES = [*SYSTEM, "by", "group", *CHANGES, "before", "after", "new loops", "utterances", "units", "too small"]
TESTS = [*SYSTEM, "by", "groups", "unit", "units", "p before", "p change"]


def language_table(sentences: pd.DataFrame) -> pd.DataFrame:
    """WER by language (figures 2, 3 and 6), ordered by score in each system.

    Returns:
        Columns of `SYSTEM`, `language`, `resource`, `hours` (in Whisper's training data), `wer`, `low` and `high` (its
        95 % interval), `utterances`, `units`, `words`, `too small`.
    """
    rows = []
    for (*system, language), own in sentences.groupby([*SYSTEM, "language"], sort=False):
        sums = unit_sums(own, ["errors", "words"])
        errors, words = column(sums, "errors"), column(sums, "words")
        low, high = interval(ratio, (errors, words)) or (np.nan, np.nan)
        rows.append(
            {
                **dict(zip(SYSTEM, system, strict=True)),
                "language": language,
                "resource": own["resource"].iloc[0],
                "hours": transcription_hours().get(language, 0.0),
                "wer": 100 * ratio(errors, words),
                "low": 100 * low,
                "high": 100 * high,
                **_sizes(own),
                "words": int(words.sum()),
            }
        )
    return pd.DataFrame(rows).sort_values([*SYSTEM, "wer"], ignore_index=True)


def resource_table(languages: pd.DataFrame) -> pd.DataFrame:
    """Mean WER of the languages of each resource class (Table 3), and how WER goes with the hours.

    Args:
        languages: of `language_table`; cells that are too small are left out.

    Returns:
        A row for each system and class: `languages`, `wer` (the mean over them); and, of all languages of the system,
        `rho` and `p`, Spearman's correlation of hours and WER, languages being the units.
    """
    rows = []
    for system, own in languages[~languages["too small"]].groupby(SYSTEM, sort=False):
        # A constant has no correlation, and two languages are always in some order.
        found = spearmanr(own["hours"], own["wer"]) if len(own) > 2 and own["hours"].nunique() > 1 else None
        for resource in in_order(own["resource"]):
            members = own[own["resource"] == resource]
            about = dict(zip(SYSTEM, system, strict=True)) | {"resource": resource, "wer": members["wer"].mean()}
            about |= {"languages": len(members), "which": " ".join(sorted(members["language"]))}
            about |= {"rho": found.statistic if found else np.nan, "p": found.pvalue if found else np.nan}
            rows.append(about)
    return _table(rows, RESOURCES)


def gender_table(sentences: pd.DataFrame) -> pd.DataFrame:
    """How WER differs between women and men (figures 4 and 5): positive where it is higher for women.

    In balanced corpora on the same sentences, relative: `200 (female - male) / (female + male)` (Boito et al., 2022), a
    sentence's recordings by a gender averaged first; elsewhere the absolute difference (Costa-jussà et al., 2022).

    Returns:
        Columns of `SYSTEM`, `language`, `resource`, `measure` (relative or absolute), `female` and `male` (WER),
        `difference` of that measure with `low` and `high`, `p` and `p adjusted` (over the languages of a system),
        `utterances` and `units` of the smaller gender, `too small`.
    """
    rows = []
    known = sentences[sentences["gender"].isin(("female", "male"))]
    for (*system, language), own in known.groupby([*SYSTEM, "language"], sort=False):
        if own["gender"].nunique() < 2:
            continue
        balanced = bool(own["balanced"].iloc[0])
        found = _on_same_sentences(own) if balanced else _of_speakers(own)
        if found is None:
            continue
        sizes = [_sizes(part) for _, part in own.groupby("gender")]
        smaller = min(sizes, key=lambda size: (not size["too small"], size["utterances"]))
        about = {**dict(zip(SYSTEM, system, strict=True)), "language": language, "resource": own["resource"].iloc[0]}
        rows.append(about | {"measure": "relative" if balanced else "absolute", **found, **smaller})
    table = _table(rows, GENDERS)
    tested = table["p"].where(~table["too small"].astype(bool))
    table["p adjusted"] = tested.groupby([table[name] for name in SYSTEM]).transform(adjusted)
    return table


def class_table(changes: pd.DataFrame, by: str) -> pd.DataFrame:
    """Sentences that compression made worse, left similar, or made better, by group (figures 7 to 12).

    Args:
        changes: of `change_table`.
        by: one of `GROUPINGS`; an accent's cell that is too small is not reported (section 3.1.1).

    Returns:
        Columns `data_set`, `model` ("all" where models are the groups), `precision`, `by`, `group`, and for each of
        `CHANGES` its share with `low` and `high`; `before` and `after`, the WER of these sentences; `new loops`, how
        many repeat themselves without end, which one class of three hardly shows and WER exaggerates; `utterances`,
        `units`, `too small`.
    """
    rows = []
    for (data_set, model, precision), own in _systems(changes, by):
        for group in _groups_in(own, by):
            part = own[own[by] == group]
            sums = unit_sums(part, [*CHANGES, "errors", "errors_before", "words"])
            total = column(sums, list(CHANGES)).sum(axis=1)
            row = {"data_set": data_set, "model": model, "precision": precision, "by": by, "group": group}
            for change in CHANGES:
                low, high = share_interval(column(sums, change), total)
                share = 100 * ratio(column(sums, change), total)
                row |= {change: share, f"{change} low": 100 * low, f"{change} high": 100 * high}
            words = column(sums, "words")
            row["before"] = 100 * ratio(column(sums, "errors_before"), words)
            row["after"] = 100 * ratio(column(sums, "errors"), words)
            row |= {"new loops": int(part["new loops"].sum()), **_sizes(part)}
            if by != "accent" or not row["too small"]:
                rows.append(row)
    return _table(rows, CLASSES)


def group_tests(changes: pd.DataFrame, classes: pd.DataFrame) -> pd.DataFrame:
    """Whether groups differ before compression, in WER, and in what compression did, in the histogram of `CHANGES`.

    Args:
        classes: of `class_table`, of all groupings; cells that are too small are not tested.

    Returns:
        A row for each data set, model, precision and grouping with two groups or more: `groups`, `unit` (of the test),
        `units`, `p before` and `p change`, and both `adjusted` over this table.
    """
    rows = []
    large, keys = classes[~classes["too small"].astype(bool)], [*SYSTEM, "by"]
    bar = tqdm(list(large.groupby(keys, sort=False)), desc="Testing groups", leave=False)
    for (data_set, model, precision, by), cells in bar:
        if len(cells) < 2:
            continue
        own = changes[(changes["data_set"] == data_set) & (changes["precision"] == precision)]
        own = own[own[by].isin(cells["group"]) & ((own["model"] == model) | (by == "model"))]
        if by == "accent":  # accents are of a language, and only those of one can be compared
            own = own[own.groupby("language")["accent"].transform("nunique") > 1]
            if own.empty:
                continue
        units, name = _test_units(own, by)
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


def _test_units(own: pd.DataFrame, by: str) -> tuple[pd.DataFrame, str]:
    """What is shuffled: sums a unit and group, their `stratum`, and `drawn`, how many are independent of each other."""
    sums = ["errors_before", "words", *CHANGES]
    if by == "resource":  # each language counts alike
        units = own.groupby(["language", by], sort=True)[sums].sum().reset_index()
        units[["errors_before", "words"]] = units[["errors_before", "words"]].div(units["words"], axis=0)
        units[list(CHANGES)] = units[list(CHANGES)].div(units[list(CHANGES)].sum(axis=1), axis=0)
        return units.assign(stratum="all", drawn=units["language"]), "language"
    same_sentences = by == "gender" and own["balanced"].all()
    units = own.groupby(["unit", "language", by] if by != "language" else ["unit", by], sort=True)[sums]
    # Or a hard sentence that two women and one man have read would count against women.
    units = (units.mean() if same_sentences else units.sum()).reset_index()
    alike = "unit" if by == "model" or same_sentences else "language"
    stratum = "all" if by == "language" else units[alike]
    return units.assign(stratum=stratum, drawn=units["unit"]), own["kind"].iloc[0]


def _on_same_sentences(own: pd.DataFrame) -> dict | None:
    means = by_gender_of_sentence(own)
    if len(means) < 2:
        return None
    parts = [column(means, (name, gender)) for gender in ("female", "male") for name in ("errors", "words")]
    low, high = interval(_relative, parts)
    female, male = ratio(*parts[:2]), ratio(*parts[2:])
    sums = np.concatenate([np.stack(parts[:2], axis=1), np.stack(parts[2:], axis=1)])
    groups = np.repeat(["female", "male"], len(means))
    p = shuffle_test(sums, groups, np.tile(means.index.to_numpy(str), 2), rates_differ)
    about = {"female": 100 * female, "male": 100 * male, "difference": float(_relative(*parts))}
    return about | {"low": low, "high": high, "p": p}


def _of_speakers(own: pd.DataFrame) -> dict | None:
    sums = unit_sums(own, ["errors", "words"], by=["gender"])
    errors, words, genders = column(sums, "errors"), column(sums, "words"), sums["gender"].to_numpy(str)
    places = [np.flatnonzero(genders == gender) for gender in ("female", "male")]
    if min(map(len, places)) < 2:
        return None

    def difference(female: np.ndarray, male: np.ndarray, axis: int = -1) -> np.ndarray:
        rates = [ratio(errors[chosen], words[chosen], axis) for chosen in (female.astype(int), male.astype(int))]
        return 100 * (np.asarray(rates[0]) - rates[1])

    low, high = interval(difference, places, paired=False)
    female, male = (100 * ratio(errors[chosen], words[chosen]) for chosen in places)
    p = shuffle_test(np.stack([errors, words], axis=1), genders, np.zeros(len(genders)), rates_differ)
    return {"female": female, "male": male, "difference": female - male, "low": low, "high": high, "p": p}


def _relative(female_errors, female_words, male_errors, male_words, axis: int = -1) -> np.ndarray:
    parts = ((female_errors, female_words), (male_errors, male_words))
    female, male = (np.asarray(ratio(errors, words, axis)) for errors, words in parts)
    return 200 * (female - male) / np.maximum(female + male, 1e-12)


def _table(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    """Of no rows too, with the columns that are asked for."""
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _sizes(part: pd.DataFrame) -> dict[str, int | bool]:
    utterances, units = len(part), part["unit"].nunique()
    return {"utterances": utterances, "units": units, "too small": is_too_small(utterances, units)}


def _systems(changes: pd.DataFrame, by: str):
    if by != "model":
        yield from changes.groupby(SYSTEM, sort=False)
        return
    for (data_set, precision), own in changes.groupby(["data_set", "precision"], sort=False):
        yield (data_set, "all", precision), own


def _groups_in(own: pd.DataFrame, by: str) -> list[str]:
    groups = [group for group in own[by].unique() if group]
    if by == "model":
        return models_by_size(own)
    if by == "resource":
        return [name for name in (*RESOURCE_CLASSES, "unknown") if name in groups]
    return in_order(groups)


def models_by_size(frame: pd.DataFrame) -> list[str]:
    """Names of models, the smallest first."""
    shapes = frame.drop_duplicates("model")[["shape", "model"]]
    return [model for _, model in sorted(zip(shapes["shape"], shapes["model"], strict=True))]


def model_sizes(frame: pd.DataFrame) -> dict[str, str]:
    """Whisper's name of each model's size, the smallest first."""
    shapes = dict(zip(frame["model"], frame["shape"], strict=True))
    return {model: size_name(shapes[model]) for model in models_by_size(frame)}
