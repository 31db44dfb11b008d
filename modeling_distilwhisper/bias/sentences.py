"""Every utterance's errors in every system, and what compression changed in it, as tables (`pandas`)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..evaluation.languages import resource_class
from ..evaluation.metrics import count_errors
from .grid import Cell

CHANGES = ("worse", "similar", "better")
THRESHOLD = 5  # points of WER between classes (section 3.3)
ABOUT = ("id", "gender", "age", "accent")


def sentence_table(cells: Sequence[Cell], normalizer: str = "marks") -> pd.DataFrame:
    """A row for each utterance in each system.

    Returns:
        Columns `data_set`, `balanced`, `model`, `shape`, `precision`, `language`, `resource`, `id`, `gender`, `age`,
        `accent` (its language in front), `sentence` (which recordings of one text share), `unit` (what is drawn and
        shuffled, see `statistics`), `kind` (of unit), `errors` and `words`, `loops` (see `ErrorCounts`), `seconds` and
        `compute_seconds`.
    """
    named = {cell.run["data_set"]: True for cell in cells}
    for cell in cells:
        named[cell.run["data_set"]] &= all(record["speaker"] for record in cell.records)
    frames = []
    for cell in cells:
        records = pd.DataFrame(cell.records)
        counts = count_errors(records["reference"], records["hypothesis"], normalizer, cell.language)
        frame = records[[*ABOUT, "seconds", "compute_seconds"]].copy()
        for name in ("data_set", "balanced", "model", "precision"):
            frame[name] = cell.run[name]
        frame["shape"] = [tuple(cell.run["shape"])] * len(frame)
        frame["language"], frame["resource"] = cell.language, resource_class(cell.language)
        frame["accent"] = frame["accent"].map(lambda accent, code=cell.language: accent and f"{code}: {accent}")
        # FLEURS has the same sentences in all languages: without the language they would be one unit.
        sentence = records["sentence_id"].where(records["sentence_id"] != "", records["id"])
        frame["sentence"] = f"{cell.language} " + sentence
        has_speakers, has_sentences = named[cell.run["data_set"]], (records["sentence_id"] != "").any()
        by_speaker = has_speakers and not cell.run["balanced"]
        frame["unit"] = f"{cell.language} " + records["speaker"] if by_speaker else frame["sentence"]
        frame["kind"] = "speaker" if by_speaker else "sentence" if has_sentences else "utterance"
        frame["errors"], frame["words"], frame["loops"] = counts.errors, counts.words, counts.loops
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def change_table(sentences: pd.DataFrame, baseline: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What compression changed in each sentence (section 3.3).

    Args:
        sentences: of `sentence_table`.
        baseline: the precision before compression.

    Returns:
        A row for each utterance, model and other precision: as before, with `errors_before`, 1 in one of the columns of
        `CHANGES`, else 0, and 1 in `new loops` where it repeats itself as it did not before. And a row for each data
        set, model and precision with how many were left out: those with a WER of 100 or more before, and those whose
        reference has no word.
    """
    key = ["data_set", "model", "language", "id"]
    before = sentences[sentences["precision"] == baseline][[*key, "errors", "loops"]]
    after = sentences[sentences["precision"] != baseline]
    both = after.merge(before, on=key, suffixes=("", "_before"), validate="many_to_one")
    wordless, hopeless = both["words"] == 0, both["errors_before"] >= both["words"]
    about = both.groupby(["data_set", "model", "precision"], sort=False)
    counted = both.assign(wordless=wordless, hopeless=hopeless & ~wordless)
    counts = counted.groupby(["data_set", "model", "precision"], sort=False)[["hopeless", "wordless"]].sum()
    left_out = counts.assign(sentences=about.size()).reset_index()
    left_out = left_out.rename(columns={"hopeless": "WER of 100 or more before", "wordless": "no word to say"})
    both = both[~wordless & ~hopeless].copy()
    # In whole numbers: a change of exactly 5 points is similar, whatever floats make of it.
    change, limit = 100 * (both["errors"] - both["errors_before"]), THRESHOLD * both["words"]
    both["worse"], both["better"] = (change > limit).astype(int), (change < -limit).astype(int)
    both["new loops"] = (both["loops"] & ~both["loops_before"]).astype(int)
    both["similar"] = 1 - both["worse"] - both["better"]
    return both, left_out


def unit_sums(frame: pd.DataFrame, columns: Sequence[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """Sums of columns over the utterances of each unit (and what else it is split by)."""
    return frame.groupby(["unit", *by], sort=True)[list(columns)].sum().reset_index()


def by_gender_of_sentence(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean errors and words of a sentence's recordings by each gender, of sentences that both have read: columns
    `sentence`, and `errors` and `words` of `female` and `male`."""
    own = frame[frame["gender"].isin(("female", "male"))]
    means = own.pivot_table(index="sentence", columns="gender", values=["errors", "words"], aggfunc="mean")
    genders = set(own["gender"])
    return means.dropna() if genders == {"female", "male"} else means.iloc[:0]


def column(frame: pd.DataFrame, name) -> np.ndarray:
    return frame[name].to_numpy(dtype=float)
