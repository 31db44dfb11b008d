"""Tables (`pandas`) of the errors in every utterance and system, and of what compression changed in them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..evaluation.languages import resource_class
from ..evaluation.metrics import count_errors
from .grid import Cell

CHANGES = ("worse", "similar", "better")
THRESHOLD = 5  # points of WER: a smaller change is "similar" (section 3.3)
METADATA = ("id", "gender", "age", "accent")


def sentence_table(cells: Sequence[Cell], normalizer: str = "marks") -> pd.DataFrame:
    """Makes a row for each utterance in each system.

    Returns:
        Columns `data_set`, `balanced`, `model`, `shape`, `precision`, `language`, `resource`, `id`, `gender`, `age`,
        `accent` (after its language), `sentence` (recordings of one text share it), `unit` (what is drawn and shuffled,
        see `statistics`), `kind` (of unit), `errors` and `words`, `counted` (words or characters, see
        `ErrorCounts.unit`), `loops` (see `ErrorCounts`), `seconds` and `compute_seconds`.
    """
    names_speakers = {cell.run["data_set"]: True for cell in cells}
    for cell in cells:
        names_speakers[cell.run["data_set"]] &= all(record["speaker"] for record in cell.records)
    frames = []
    for cell in cells:
        records = pd.DataFrame(cell.records)
        counts = count_errors(records["reference"], records["hypothesis"], normalizer, cell.language)
        frame = records[[*METADATA, "seconds", "compute_seconds"]].copy()
        for name in ("data_set", "balanced", "model", "precision"):
            frame[name] = cell.run[name]
        frame["shape"] = [tuple(cell.run["shape"])] * len(frame)
        frame["language"], frame["resource"] = cell.language, resource_class(cell.language)
        frame["accent"] = frame["accent"].map(lambda accent, code=cell.language: accent and f"{code}: {accent}")
        # FLEURS has the same sentences in all languages. Without the language in front they would be one unit.
        sentence = records["sentence_id"].where(records["sentence_id"] != "", records["id"])
        frame["sentence"] = f"{cell.language} " + sentence
        has_sentences = (records["sentence_id"] != "").any()
        by_speaker = names_speakers[cell.run["data_set"]] and not cell.run["balanced"]
        frame["unit"] = f"{cell.language} " + records["speaker"] if by_speaker else frame["sentence"]
        frame["kind"] = "speaker" if by_speaker else "sentence" if has_sentences else "utterance"
        frame["errors"], frame["words"], frame["loops"] = counts.errors, counts.words, counts.loops
        frame["counted"] = counts.unit
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def change_table(sentences: pd.DataFrame, baseline: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compares each sentence after compression with the same sentence before (section 3.3).

    Args:
        sentences: of `sentence_table`.
        baseline: the precision before compression.

    Returns:
        Two tables. The first has a row for each utterance, model and other precision, with the columns of
        `sentence_table` and `errors_before`; 1 in one of the columns of `CHANGES` and 0 in the others; and 1 in
        `new loops` if the transcript repeats itself and did not before. The second has a row for each data set, model
        and precision, with the number of sentences that the first leaves out: those with a WER of 100 or more before,
        and those whose reference has no word.
    """
    key = ["data_set", "model", "language", "id"]
    before = sentences[sentences["precision"] == baseline][[*key, "errors", "loops"]]
    after = sentences[sentences["precision"] != baseline]
    both = after.merge(before, on=key, suffixes=("", "_before"), validate="many_to_one")
    wordless, all_wrong = both["words"] == 0, both["errors_before"] >= both["words"]
    marked = both.assign(wordless=wordless, all_wrong=all_wrong & ~wordless)
    systems = marked.groupby(["data_set", "model", "precision"], sort=False)
    left_out = systems[["all_wrong", "wordless"]].sum().assign(sentences=systems.size()).reset_index()
    left_out = left_out.rename(columns={"all_wrong": "WER of 100 or more before", "wordless": "no word to say"})
    both = both[~wordless & ~all_wrong].copy()
    # In integers, so that a change of exactly 5 points is always similar: floats would round.
    change, limit = 100 * (both["errors"] - both["errors_before"]), THRESHOLD * both["words"]
    both["worse"], both["better"] = (change > limit).astype(int), (change < -limit).astype(int)
    both["new loops"] = (both["loops"] & ~both["loops_before"]).astype(int)
    both["similar"] = 1 - both["worse"] - both["better"]
    return both, left_out


def unit_sums(frame: pd.DataFrame, columns: Sequence[str], by: Sequence[str] = ()) -> pd.DataFrame:
    """Sums of columns over the utterances of each unit, and of each value of the columns `by`."""
    return frame.groupby(["unit", *by], sort=True)[list(columns)].sum().reset_index()


def by_gender_of_sentence(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean errors and words over the recordings of a sentence by each gender, for sentences that both have read.

    Returns:
        A row for each sentence, with columns (`errors` or `words`, `female` or `male`).
    """
    known = frame[frame["gender"].isin(("female", "male"))]
    means = known.pivot_table(index="sentence", columns="gender", values=["errors", "words"], aggfunc="mean")
    genders = set(known["gender"])
    return means.dropna() if genders == {"female", "male"} else means.iloc[:0]


def column(frame: pd.DataFrame, name: str | tuple[str, str] | list[str]) -> np.ndarray:
    """A column as floats `(rows,)`, or several `(rows, columns)`."""
    return frame[name].to_numpy(dtype=float)
