"""The tables of a comparison, from the content of its `comparison.json` alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

from ...evaluation.seeds import mean_over_languages, spread_of_seeds
from ...reporting.markdown import Markdown, table_of

Row = dict[str, Any]
Content = Mapping[str, Any]


def means(content: Content) -> str:
    """A row for each system: mean WER by data set over languages and seeds, loops, minutes, weights, expert usage."""
    rows = []
    for system in systems(content):
        row: Row = {title(content): system}
        row |= {group: wer_cell(values) for group, values in groups_of(content, own_scores(content, system)).items()}
        if content["forced_gates"]:
            row |= forced_cells(content, system)
        rows.append(row | costs(content, system))
    return str(table_of(rows, ".3f"))


def languages(content: Content) -> str:
    """A row for each system: its WER in each data set and language, with the 95 % interval of a single run."""
    rows = []
    for system in systems(content):
        row: Row = {f"WER ({normalizers(content)})": system}
        runs: dict[str, list[Row]] = defaultdict(list)
        for score in own_scores(content, system):
            runs[f"{score['language']}, {score['data_set']}"].append(score)
        rows.append(row | {name: interval_cell(scores) for name, scores in runs.items()})
    return str(table_of(rows))


def differences(content: Content) -> str:
    """A row for each pair of systems and data set: the difference with its interval, in bold where 0 is outside."""
    rows: dict[tuple[str, str], Row] = {}
    for one in content["differences"]:
        text = f"{one['difference']:.3f} ({one['low']:.3f} to {one['high']:.3f})".replace("-0.000", "0.000")
        pair = one["of"], one["less that of"]
        row = rows.setdefault(pair, {"WER of": pair[0], "less that of": pair[1]})
        row[f"{one['languages']}, {one['data_set']}"] = Markdown(f"**{text}**" if one["real"] else text)
    return str(table_of(list(rows.values())))


def notes(content: Content) -> str:
    """What a reader of the tables has to know, a sentence for each."""
    sentences = []
    if any(spread_of_seeds(values) is not None for _, values in every_group(content)):
        sentences.append("After ±: the standard deviation over seeds, mean over languages.")
    if content["differences"]:
        clips = sorted({one["clips"] for one in content["differences"]})
        over = " to ".join(map(str, dict.fromkeys((clips[0], clips[-1]))))
        sentences.append(
            f"Differences are of pooled words, paired by clip ({over} different ones), with 95 % intervals: what other "
            "recordings might give, not what other seeds might."
        )
    if any(run["minutes of"] != "all starts" for run in content["runs"]):
        sentences.append("Minutes are those of the last start of a run.")
    return " ".join(sentences)


def side_by_side(content: Content) -> list[Row]:
    """A row for each data set and language, with the WER of every system, the mean over seeds."""
    rows: dict[tuple[str, str], Row] = {}
    wers = defaultdict(list)
    for score in content["scores"]:
        if "gates" not in score:
            key = score["data_set"], score["language"]
            rows.setdefault(
                key, {name: score[name] for name in ("data_set", "language", "words", "unit", "normalizer")}
            )
            wers[key, score["system"]].append(score["wer"])
    for (key, system), values in wers.items():
        rows[key][system] = mean(values)
    return list(rows.values())


def systems(content: Content) -> list[str]:
    return list(dict.fromkeys(score["system"] for score in content["scores"]))


def title(content: Content) -> str:
    several = len({run["seed"] for run in content["runs"]}) > 1
    return f"WER ({normalizers(content)}), mean over languages{' and seeds' if several else ''}"


def normalizers(content: Content) -> str:
    return ", ".join(dict.fromkeys(score["normalizer"] for score in content["scores"]))


def own_scores(content: Content, system: str, gates: str | None = None) -> list[Row]:
    """The scores of a system as it is, or with forced gates."""
    return [score for score in content["scores"] if score["system"] == system and score.get("gates") == gates]


def groups_of(content: Content, scores: Iterable[Row]) -> dict[str, dict[str, list[float]]]:
    """The WER of each seed by language, for each data set and group of languages."""
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        kind = "trained" if score["language"] in content["languages"] else "other languages"
        groups[f"{kind}, {score['data_set']}"][score["language"]].append(score["wer"])
    return groups


def every_group(content: Content) -> list[tuple[str, dict[str, list[float]]]]:
    return [group for system in systems(content) for group in groups_of(content, own_scores(content, system)).items()]


def wer_cell(values: Mapping[str, list[float]]) -> Markdown:
    spread = spread_of_seeds(values)
    return Markdown(f"{mean_over_languages(values):.3f}" + ("" if spread is None else f" ± {spread:.3f}"))


def interval_cell(scores: list[Row]) -> Markdown:
    """The WER of a run with its interval, where it has one; of several seeds, the mean and their spread."""
    low, high = scores[0]["wer_low"], scores[0]["wer_high"]
    if len(scores) > 1 or low is None:
        return wer_cell({"": [score["wer"] for score in scores]})
    return Markdown(f"{scores[0]['wer']:.3f} ({low:.3f} to {high:.3f})")


def forced_cells(content: Content, system: str) -> Row:
    return {
        f"gates {gates}, {group.removeprefix('trained, ')}": wer_cell(values)
        for gates in ("open", "closed")
        for group, values in groups_of(content, own_scores(content, system, gates)).items()
    }


def costs(content: Content, system: str) -> Row:
    """Minutes of a training, loops, the weights that it saves, and expert usage: means over seeds and languages."""
    runs = [run for run in content["runs"] if run["system"] == system]
    scores = own_scores(content, system)
    spent = [run["minutes"] for run in runs]
    row: Row = {"training, minutes": f"{mean(spent):.1f}" if spent else None}
    row["loops"] = f"{sum(score['loops'] for score in scores)} of {sum(score['utterances'] for score in scores):,}"
    row["weights, M"] = f"{runs[0]['saved weights'] / 1e6:.2f}" if runs else None
    for side in ("encoder", "decoder"):
        shares = [share[side] for run in runs for share in run["expert usage"].values()]
        row[f"usage, {side}"] = f"{mean(shares):.2f}" if shares else None
    return row
