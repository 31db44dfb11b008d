"""Tables of the comparison on real prompts.

    python benchmarks/comparison_tables.py results/prompts_comparison
    python benchmarks/comparison_tables.py results.tar.gz --normalizer marks

Prints them in Markdown; `render.py` puts them into pages. A WER is a mean over languages and seeds. A difference is
of pooled WERs on the same recordings, with its 95 % interval; in bold, 0 is outside of it.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

import declared_tables
from comparison_data import read
from comparison_jobs import ONE_PATH, SYSTEMS
from comparison_scores import (
    SHIFTS,
    ScoredRun,
    by_language,
    compare,
    everywhere,
    in_domain,
    one_shift,
    other_languages,
    out_of_domain,
    score,
)

from modeling_distilwhisper.evaluation.metrics import Difference
from modeling_distilwhisper.evaluation.normalization import NORMALIZERS
from modeling_distilwhisper.evaluation.seeds import mean_over_languages, spread_of_seeds

EXPERTS = ("CLSR-FT", "DistilWhisper", "DistilWhisper rank 128", ONE_PATH)
OTHERS = ("fine-tuning", "LoRA 32", "LoRA 135", "LoRA 416")
GROUPS = {"in domain": in_domain, "out of domain": out_of_domain, "other languages": other_languages}
# What the README calls the systems that it shows.
FRONT_PAGE = {
    "as it is": "plain",
    "full fine-tuning": "fine-tuning",
    "LoRA, r = 32": "LoRA 32",
    "LoRA, r = 135": "LoRA 135",
    "CLSR-FT (experts without a teacher)": "CLSR-FT",
    "DistilWhisper (experts; teacher: whisper-base itself)": "DistilWhisper",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder that comparison_data.py wrote, or the archive")
    parser.add_argument("--normalizer", default="report", choices=list(NORMALIZERS))
    arguments = parser.parse_args()
    tables = make_tables(arguments.source, arguments.normalizer)
    print("\n\n".join(f"## {name}\n\n{table}" for name, table in tables.items() if table))


class Results:
    """All runs of a comparison, scored.

    Attributes:
        common: what holds for all runs.
        systems: trained and untrained runs by system, in the order of `SYSTEMS`.
        ablations: runs by variant.
        searches: runs of the search for learning rates.
    """

    def __init__(self, source: Path, normalizer: str = "report"):
        self.common, runs = read(source)
        by_kind: dict[str, dict[str, list[ScoredRun]]] = defaultdict(lambda: defaultdict(list))
        for run in runs:
            kind = "train" if run["kind"] == "plain" else run["kind"]
            by_kind[kind][run["system"]].append(score(run, normalizer))
        order = [name for name in ("plain", *OTHERS, *EXPERTS) if name in by_kind["train"]]
        self.systems = {name: by_kind["train"][name] for name in order}
        self.ablations = dict(sorted(by_kind["ablation"].items()))
        self.searches = by_kind["search"]

    def runs(self, name: str) -> list[ScoredRun]:
        """The runs of a system, or of an ablation; none if it was not run."""
        return self.ablations.get(name) or self.systems.get(name, [])

    def russian(self, system: str) -> list[ScoredRun]:
        """The Russian runs of a system, or of an ablation."""
        return [run for run in self.runs(system) if run.record["language"] == "ru"]


def make_tables(source: Path, normalizer: str = "report") -> dict[str, str]:
    """All tables in Markdown, by name. Claims are left out where systems have not run."""
    from comparison_claims import NEEDED_ABLATIONS, claims, limits  # it needs this module

    results = Results(source, normalizer)
    tables = {
        "systems": markdown(system_rows(results)),
        "differences": markdown(difference_rows(results)),
        "ablations": markdown(ablation_rows(results)),
        "learning rates": markdown(rate_rows(results)),
        "origin": declared_tables.origin_of({"runs": records_of(results)}),
    }
    if set(FRONT_PAGE.values()) <= results.systems.keys():
        tables["front page"] = markdown(front_page_rows(results))
    if {"plain", *SYSTEMS} <= results.systems.keys() and results.ablations.keys() >= NEEDED_ABLATIONS:
        tables |= {"claims": markdown(claims(results)), "claims in short": markdown(claims(results, short=True))}
        tables["limits"] = limits(results)
    return tables


def markdown(rows: list[dict]) -> str:
    """A table in Markdown. What a row lacks is an empty cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return declared_tables.markdown(columns, [[row.get(name) or "" for name in columns] for row in rows])


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def interval(value: Difference) -> str:
    """As "-0.030 (-0.053 to -0.007)"."""
    return f"{value.wer:.3f} ({value.low:.3f} to {value.high:.3f})".replace("-0.000", "0.000")


def difference(first: list[ScoredRun], second: list[ScoredRun], group: Callable) -> str:
    """The difference with its interval, in bold where 0 is outside of it; "-" where no runs can be compared."""
    compared = compare(first, second, group)
    if compared is None:
        return "-"
    text = interval(compared.difference)
    return f"**{text}**" if compared.difference.is_real else text


def loops(runs: list[ScoredRun], group: Callable = everywhere) -> str:
    errors = [one for run in runs for one in run.test_errors(group).values()]
    return f"{sum(one.loops for one in errors)} of {len(errors):,}"


def insertion_rate(group: Callable, run: ScoredRun) -> float:
    errors = run.test_errors(group).values()
    return sum(one.insertions for one in errors) / max(sum(one.words for one in errors), 1)


def weights(runs: list[ScoredRun]) -> str:
    saved = runs[0].record.get("saved weights")
    return f"{saved / 1e6:.1f}" if saved else "-"


def minutes(runs: list[ScoredRun]) -> float:
    return mean(run.record["minutes"] for run in runs)


def records_of(results: Results) -> list[dict]:
    """The records of all runs whose numbers stand in tables."""
    groups = (results.systems, results.ablations, results.searches)
    return [run.record for group in groups for runs in group.values() for run in runs]


def front_page_rows(results: Results) -> list[dict]:
    titles = dict(zip(GROUPS, ("in domain", "under domain shifts", "in the other languages"), strict=True))
    rows = []
    for title, system in FRONT_PAGE.items():
        runs, row = results.systems[system], {"whisper-base": title}
        for name, group in GROUPS.items():
            row[titles[name]] = mean_rate(runs, lambda run, group=group: run.wer(group))
        rows.append(row)
    return rows


def mean_rate(runs: list[ScoredRun], measure: Callable[[ScoredRun], float]) -> str:
    return number(mean_over_languages(by_language(runs, measure)))


def system_rows(results: Results) -> list[dict]:
    rows = []
    languages = {name: {run.record["language"] for run in runs} for name, runs in results.systems.items()}
    for system, runs in results.systems.items():
        if languages[system] < set().union(*languages.values()):  # a mean over fewer languages compares nothing
            continue
        row = {"": system, "runs": str(len(runs))}
        for name, group in GROUPS.items():
            row[name] = mean_rate(runs, lambda run, group=group: run.wer(group))
        row["seeds differ by"] = number(spread_of_seeds(by_language(runs, lambda run: run.wer(in_domain))))
        for name in SHIFTS:
            row[name] = mean_rate(runs, lambda run, name=name: run.wer(one_shift(name)))
        row["insertions, out of domain"] = mean_rate(runs, partial(insertion_rate, out_of_domain))
        row |= {"loops": loops(runs), "weights, M": weights(runs), "minutes": number(minutes(runs), 1)}
        memory = max(run.record.get("GPU memory in training, GiB", 0) for run in runs)
        row["GiB"] = number(memory or None, 1)
        rows.append(row)
    return rows


def difference_rows(results: Results) -> list[dict]:
    systems = results.systems
    pairs = [(ours, other) for ours in EXPERTS for other in ("plain", *OTHERS)]
    pairs += [("DistilWhisper", "CLSR-FT"), ("DistilWhisper rank 128", "DistilWhisper")]
    pairs += [(other, "plain") for other in OTHERS]
    rows = []
    for first, second in pairs:
        if first in systems and second in systems:
            row = {"WER of": first, "less that of": second}
            row |= {name: difference(systems[first], systems[second], group) for name, group in GROUPS.items()}
            rows.append(row)
    return rows


def ablation_rows(results: Results) -> list[dict]:
    rows = []
    for name in (*EXPERTS, *results.ablations):
        runs = results.russian(name)
        if not runs:
            continue
        base = results.russian("DistilWhisper rank 128" if re.fullmatch(r"rank \d+", name) else "DistilWhisper")
        row = {"": name, "seeds": str(len(runs))}
        row |= {title: number(mean(run.wer(group) for run in runs)) for title, group in list(GROUPS.items())[:2]}
        row["in domain, less DistilWhisper"] = difference(runs, base, in_domain) if name in results.ablations else ""
        row["gates open"] = number(forced(runs, "gates open"))
        row |= {f"usage, {side}": number(usage(runs, side), 2) for side in ("encoder", "decoder")}
        rows.append(row | {"loops": loops(runs)})
    return rows


def forced(runs: list[ScoredRun], gates: str) -> float | None:
    """WER in domain with all gates open or shut."""
    scores = [run.record["results"].get("scores", {}).get(gates) for run in runs]
    wers = [rates["wer"] for one in scores if one for corpus in one.values() for rates in corpus.values()]
    return mean(wers) if wers else None


def usage(runs: list[ScoredRun], side: str) -> float | None:
    """Share of the tokens that take the expert at inference: of "encoder", "decoder" or "all"."""
    shares = [run.record["results"].get("expert usage at inference") or {} for run in runs]
    values = [share[side] for by_language in shares for share in by_language.values()]
    return mean(values) if values else None


def rate_rows(results: Results) -> list[dict]:
    """Validation WER after one epoch in Russian, by learning rate."""
    rows = []
    for system in (name for name in SYSTEMS if name in results.searches):
        chosen = results.common.get("learning rates", {}).get(system)
        runs = {run.record["settings"]["learning_rate"]: run.record for run in results.searches[system]}
        row = {"": system}
        for place, rate in zip(("low", "middle", "high"), SYSTEMS[system][1], strict=True):
            if rate in runs:
                text = f"{rate:g}: {runs[rate]['validation'][-1]['eval_wer']:.3f}"
                row[place] = f"**{text}**" if rate == chosen else text
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
