"""The chapter's findings (sections 3.2 to 3.4), answered for the data at hand."""

from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy.stats import binomtest, spearmanr

from .statistics import LEVEL, adjusted
from .tables import SYSTEM

# What the report says that compression does to a bias (section 3.4).
REPORT = {"gender": "kept", "age": "kept", "resource": "amplified", "model": "amplified"}
NOT_SHOWN = "not shown"
FEW_LANGUAGES = 5  # fewer say nothing of how two orders of languages agree


def compression_findings(tests: pd.DataFrame, classes: pd.DataFrame) -> pd.DataFrame:
    """What compression did to each bias.

    - amplified: it changed the groups' sentences differently, and more to the worse where WER was higher before; or
      the groups did not differ before, and now one is harmed more;
    - reduced: differently, and more to the worse where WER was lower before;
    - kept: the groups differ in WER before, and nothing shows that compression changed them differently;
    - not shown: neither, or there are no two groups large enough.

    Differences count where their adjusted p-value is below 0.05. "Kept" is as sure as the cells are large: `why` has
    the groups that fared worst and best, with the intervals of their shares.

    Args:
        tests, classes: of `group_tests` and `class_table`.

    Returns:
        A row for each data set, model, precision and grouping: `bias`, `report`, `here` and `why`.
    """
    keys, rows = ["data_set", "model", "precision", "by"], []
    for key, cells in classes.groupby(keys, sort=False):
        large = cells[~cells["too small"]]
        about = dict(zip(("data_set", "model", "precision", "bias"), key, strict=True))
        about["report"] = REPORT.get(key[-1], "-")
        found = tests[(tests[keys] == list(key)).all(axis=1)]
        if found.empty:
            told = ", ".join(f"{row['group']} ({row['utterances']})" for _, row in cells.iterrows())
            rows.append(about | {"here": NOT_SHOWN, "why": f"no two groups are large enough to compare: {told}"})
            continue
        rows.append(about | dict(zip(("here", "why"), _verdict(found.iloc[0], large), strict=True)))
    table = pd.DataFrame(rows, columns=[*SYSTEM, "bias", "report", "here", "why"])
    return table.sort_values(SYSTEM, kind="stable", ignore_index=True)


def harm_follows_bias(cells: pd.DataFrame) -> float:
    """Positive where groups with a higher WER before were changed more to the worse: the covariance over sentences of
    WER before and of the share made worse less the share made better."""
    weights = cells["utterances"] / cells["utterances"].sum()
    harm = cells["worse"] - cells["better"]
    before = cells["before"] - (weights * cells["before"]).sum()
    return float((weights * before * harm).sum())


def _verdict(test: pd.Series, cells: pd.DataFrame) -> tuple[str, str]:
    before, change = test["p before, adjusted"] < LEVEL, test["p change, adjusted"] < LEVEL
    harm = (cells["worse"] - cells["better"]).to_numpy()
    order = np.argsort(harm, kind="stable")
    most, least = cells.iloc[order[-1]], cells.iloc[order[0]]
    told = [
        f"WER before {'differs' if before else 'does not differ'} (p = {test['p before, adjusted']:.3f})",
        f"what changed {'differs' if change else 'does not differ'} (p = {test['p change, adjusted']:.3f})",
        f"made worse: {_share(most)}, {_share(least)}",
        f"{test['units']} units ({test['unit']})",
    ]
    if change:
        verdict = "amplified" if harm_follows_bias(cells) > 0 or not before else "reduced"
    else:
        verdict = "kept" if before else NOT_SHOWN
    return verdict, "; ".join(told)


def _share(row: pd.Series) -> str:
    share, low, high = (row[f"worse{end}"] for end in ("", " low", " high"))
    return f"{row['group']} {share:.1f} % ({low:.1f} to {high:.1f})"


def model_findings(
    languages: pd.DataFrame, resources: pd.DataFrame, genders: pd.DataFrame, models: list[str], baseline: str
) -> pd.DataFrame:
    """What holds before compression (section 3.2): with hours WER falls; genders differ, by language, alike in all
    corpora; smaller models are worse, and in the same languages.

    Args:
        languages, resources, genders: of `language_table`, `resource_table` and `gender_table`.
        models: the smallest first.

    Returns:
        Rows of `finding`, `data_set`, `model`, `here` (shown, not shown, or the contrary) and `why`. p-values are
        adjusted over them; those of genders are as `gender_table` has adjusted them.
    """
    rows = [
        *_resource_rows(resources[resources["precision"] == baseline]),
        *_gender_rows(genders[genders["precision"] == baseline]),
        *_size_rows(languages[(languages["precision"] == baseline) & ~languages["too small"]], models),
    ]
    for row, p in zip(rows, adjusted(np.array([row.get("p", np.nan) for row in rows])), strict=True):
        if not np.isnan(p):
            row["here"] = NOT_SHOWN if p >= LEVEL else "shown" if row["as said"] else "the contrary"
            row["why"] += f"; p = {p:.3f}"
    return pd.DataFrame(rows, columns=["finding", "data_set", "model", "here", "why"])


def _resource_rows(resources: pd.DataFrame):
    for (data_set, model, _), own in resources.groupby(SYSTEM, sort=False):
        rho, p, count = own["rho"].iloc[0], own["p"].iloc[0], own["languages"].sum()
        about = {"finding": "the more hours, the lower the WER", "data_set": data_set, "model": model}
        if np.isnan(p):
            yield about | {"here": NOT_SHOWN, "why": f"{count} languages, in {len(own)} resource classes"}
            continue
        yield about | {"p": p, "as said": rho < 0, "why": f"Spearman's rho = {rho:.2f}, {count} languages"}


def _gender_rows(genders: pd.DataFrame):
    for (data_set, model, _), own in genders.groupby(SYSTEM, sort=False):
        large, finding = own[~own["too small"]], {"data_set": data_set, "model": model}
        differ = large[large["p adjusted"] < LEVEL]
        points = (large["female"] - large["male"]).abs()
        told = f"{len(differ)} of {len(large)} languages ({' '.join(sorted(differ['language'])) or 'none'})"
        told += f"; within 3 points in {(points <= 3).sum()}; {len(own) - len(large)} languages too small"
        here = "shown" if len(differ) else NOT_SHOWN
        yield finding | {"finding": "women and men differ, in some languages", "here": here, "why": told}
    for first, second in combinations(genders["data_set"].unique(), 2):
        for model, own in genders[~genders["too small"].astype(bool)].groupby("model", sort=False):
            both = own.pivot_table(index="language", columns="data_set", values="difference")
            if not {first, second} <= set(both):
                continue
            both = both[[first, second]].dropna()
            about = {"finding": "genders differ alike in both corpora", "model": model}
            about["data_set"] = f"{first}, {second}"
            yield about | _agreement(both[first], both[second])


def _size_rows(languages: pd.DataFrame, models: list[str]):
    for data_set, own in languages.groupby("data_set", sort=False):
        table = own.pivot_table(index="language", columns="model", values="wer").dropna()
        for smaller, larger in pairwise(models):
            if smaller not in table or larger not in table or table.empty:
                continue
            worse, better = (int((sign * table[smaller] > sign * table[larger]).sum()) for sign in (1, -1))
            about = {"data_set": data_set, "model": f"{smaller}, {larger}"}
            p = binomtest(worse, worse + better).pvalue if worse + better else 1.0  # the sign test
            means = f"{table[smaller].mean():.1f}, {table[larger].mean():.1f}"
            told = f"{worse} of {len(table)} languages; mean WER {means}"
            yield about | {"finding": "the smaller model is worse", "p": p, "as said": worse > better, "why": told}
            finding = {"finding": "models of all sizes fail in the same languages"}
            yield about | finding | _agreement(table[smaller], table[larger])


def _agreement(first: pd.Series, second: pd.Series) -> dict:
    if len(first) < FEW_LANGUAGES or first.nunique() < 2 or second.nunique() < 2:
        return {"here": NOT_SHOWN, "why": f"{len(first)} languages are too few"}
    found = spearmanr(first, second)
    told = f"Spearman's rho = {found.statistic:.2f}, {len(first)} languages"
    return {"p": found.pvalue, "as said": found.statistic > 0, "why": told}
