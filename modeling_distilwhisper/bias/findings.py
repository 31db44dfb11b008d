"""The findings of chapter 3 (sections 3.2 to 3.4), tested on this study's data."""

from collections.abc import Mapping
from itertools import combinations, pairwise, product

import numpy as np
import pandas as pd
from scipy.stats import binomtest, spearmanr

from .groups import tiers
from .statistics import LEVEL, adjusted
from .tables import SYSTEM

# What compression does to a bias according to the report (section 3.4).
REPORT = {"gender": "kept", "age": "kept", "resource": "amplified", "model": "amplified"}
NOT_SHOWN = "not shown"
MIN_LANGUAGES = 5  # to compare two orders of languages


def compression_findings(tests: pd.DataFrame, classes: pd.DataFrame, sizes: Mapping[str, int]) -> pd.DataFrame:
    """Judges what compression did to each bias.

    - amplified: compression changed the groups differently, and harmed more those with a higher WER before; or the
      groups did not differ before, and compression harmed one more;
    - reduced: compression changed the groups differently, and harmed more those with a lower WER before;
    - kept: the groups differ in WER before, and no test shows that compression changed them differently;
    - not shown: neither, or fewer than two groups are large enough.

    A difference counts if its adjusted p-value is below 0.05. "Kept" is only as certain as the cells are large: `why`
    names the groups that were harmed most and least, with the intervals of their shares.

    Args:
        tests: of `group_tests`.
        classes: of `class_table`.
        sizes: parameters by model.

    Returns:
        A row for each data set, model, precision and grouping: `bias`, `report` (its verdict; on models, only if they
        differ in size, of which it speaks), `here` (the verdict on this data) and `why`.
    """
    keys, rows = ["data_set", "model", "precision", "by"], []
    for key, cells in classes.groupby(keys, sort=False):
        large = cells[~cells["too small"]]
        row = dict(zip(("data_set", "model", "precision", "bias"), key, strict=True))
        has_verdict = key[-1] != "model" or len(tiers({model: sizes[model] for model in cells["group"]})) > 1
        row["report"] = REPORT.get(key[-1], "-") if has_verdict else "-"
        test = tests[(tests[keys] == list(key)).all(axis=1)]
        if test.empty:
            listed = ", ".join(f"{cell['group']} ({cell['utterances']})" for _, cell in cells.iterrows())
            rows.append(row | {"here": NOT_SHOWN, "why": f"no two groups are large enough to compare: {listed}"})
            continue
        verdict, reasons = _verdict(test.iloc[0], large)
        rows.append(row | {"here": verdict, "why": reasons})
    table = pd.DataFrame(rows, columns=[*SYSTEM, "bias", "report", "here", "why"])
    return table.sort_values(SYSTEM, kind="stable", ignore_index=True)


def harm_follows_bias(cells: pd.DataFrame) -> float:
    """Whether compression harmed groups with a higher WER before more (positive) or less (negative) than others.

    It is the covariance, over sentences, of the WER before and the harm (share made worse minus share made better).
    """
    weights = cells["utterances"] / cells["utterances"].sum()
    harm = cells["worse"] - cells["better"]
    before = cells["before"] - (weights * cells["before"]).sum()
    return float((weights * before * harm).sum())


def _verdict(test: pd.Series, cells: pd.DataFrame) -> tuple[str, str]:
    before, change = test["p before, adjusted"] < LEVEL, test["p change, adjusted"] < LEVEL
    harm = (cells["worse"] - cells["better"]).to_numpy()
    order = np.argsort(harm, kind="stable")
    most, least = cells.iloc[order[-1]], cells.iloc[order[0]]
    reasons = [
        f"WER before {'differs' if before else 'does not differ'} (p = {test['p before, adjusted']:.3f})",
        f"what changed {'differs' if change else 'does not differ'} (p = {test['p change, adjusted']:.3f})",
        f"made worse: {_share(most)}, {_share(least)}",
        f"{test['units']} units ({test['unit']})",
    ]
    if change:
        verdict = "amplified" if harm_follows_bias(cells) > 0 or not before else "reduced"
    else:
        verdict = "kept" if before else NOT_SHOWN
    return verdict, "; ".join(reasons)


def _share(row: pd.Series) -> str:
    share, low, high = (row[f"worse{end}"] for end in ("", " low", " high"))
    return f"{row['group']} {share:.1f} % ({low:.1f} to {high:.1f})"


def model_findings(
    languages: pd.DataFrame, resources: pd.DataFrame, genders: pd.DataFrame, sizes: Mapping[str, int], baseline: str
) -> pd.DataFrame:
    """Tests the report's findings before compression (section 3.2).

    These are: WER falls with the hours of training data; women and men differ in some languages, and in the same way in
    all corpora; smaller models have a higher WER, and models of all sizes fail in the same languages.

    Args:
        languages: of `language_table`.
        resources: of `resource_table`.
        genders: of `gender_table`.
        sizes: parameters by model. Each model is compared with those of the next size; two of one size are not.
        baseline: the precision before compression.

    Returns:
        Rows of `finding`, `data_set`, `model`, `here` (shown, not shown, or the contrary) and `why`. p-values are
        adjusted for the number of rows; those of genders, like in `gender_table`, for the number of languages.
    """
    rows = [
        *_resource_rows(resources[resources["precision"] == baseline]),
        *_gender_rows(genders[genders["precision"] == baseline]),
        *_size_rows(languages[(languages["precision"] == baseline) & ~languages["too small"]], sizes),
    ]
    for row, p in zip(rows, adjusted(np.array([row.get("p", np.nan) for row in rows])), strict=True):
        if not np.isnan(p):
            row["here"] = NOT_SHOWN if p >= LEVEL else "shown" if row["as reported"] else "the contrary"
            row["why"] += f"; p = {p:.3f}"
    return pd.DataFrame(rows, columns=["finding", "data_set", "model", "here", "why"])


def _resource_rows(resources: pd.DataFrame):
    for (data_set, model, _), system_rows in resources.groupby(SYSTEM, sort=False):
        rho, p, count = system_rows["rho"].iloc[0], system_rows["p"].iloc[0], system_rows["languages"].sum()
        row = {"finding": "the more hours, the lower the WER", "data_set": data_set, "model": model}
        if np.isnan(p):
            yield row | {"here": NOT_SHOWN, "why": f"{count} languages, in {len(system_rows)} resource classes"}
            continue
        yield row | {"p": p, "as reported": rho < 0, "why": f"Spearman's rho = {rho:.2f}, {count} languages"}


def _gender_rows(genders: pd.DataFrame):
    for (data_set, model, _), system_rows in genders.groupby(SYSTEM, sort=False):
        large, system = system_rows[~system_rows["too small"]], {"data_set": data_set, "model": model}
        differ = large[large["p adjusted"] < LEVEL]
        points = (large["female"] - large["male"]).abs()
        why = f"{len(differ)} of {len(large)} languages ({' '.join(sorted(differ['language'])) or 'none'})"
        why += f"; within 3 points in {(points <= 3).sum()}; {len(system_rows) - len(large)} languages too small"
        here = "shown" if len(differ) else NOT_SHOWN
        yield system | {"finding": "women and men differ, in some languages", "here": here, "why": why}
    for first, second in combinations(genders["data_set"].unique(), 2):
        for model, model_rows in genders[~genders["too small"].astype(bool)].groupby("model", sort=False):
            both = model_rows.pivot_table(index="language", columns="data_set", values="difference")
            if not {first, second} <= set(both):
                continue
            both = both[[first, second]].dropna()
            row = {"finding": "genders differ alike in both corpora", "model": model}
            row["data_set"] = f"{first}, {second}"
            yield row | _agreement(both[first], both[second])


def _size_rows(languages: pd.DataFrame, sizes: Mapping[str, int]):
    for data_set, set_rows in languages.groupby("data_set", sort=False):
        table = set_rows.pivot_table(index="language", columns="model", values="wer").dropna()
        by_size = tiers({model: sizes[model] for model in table})
        for smaller, larger in (pair for tier in pairwise(by_size) for pair in product(*tier)):
            if table.empty:
                continue
            worse, better = (int((sign * table[smaller] > sign * table[larger]).sum()) for sign in (1, -1))
            pair = {"data_set": data_set, "model": f"{smaller}, {larger}"}
            p = binomtest(worse, worse + better).pvalue if worse + better else 1.0  # the sign test
            means = f"{table[smaller].mean():.1f}, {table[larger].mean():.1f}"
            why = f"{worse} of {len(table)} languages; mean WER {means}"
            yield pair | {"finding": "the smaller model is worse", "p": p, "as reported": worse > better, "why": why}
            finding = {"finding": "models of all sizes fail in the same languages"}
            yield pair | finding | _agreement(table[smaller], table[larger])


def _agreement(first: pd.Series, second: pd.Series) -> dict:
    """Whether two values of each language have the same order, by Spearman's correlation."""
    if len(first) < MIN_LANGUAGES or first.nunique() < 2 or second.nunique() < 2:
        return {"here": NOT_SHOWN, "why": f"{len(first)} languages are too few"}
    rho, p = spearmanr(first, second)
    return {"p": p, "as reported": rho > 0, "why": f"Spearman's rho = {rho:.2f}, {len(first)} languages"}
