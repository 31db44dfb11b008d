"""Chooses the rows of the study (section 3.1.1), and records why a row is left out."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from datasets import Dataset, Value, concatenate_datasets
from tqdm.auto import tqdm

from ..data.audio import read_audio
from ..data.rows import FEATURES, SPLITS
from ..data.sources import Source
from ..data.usable import check_scorable
from ..data.voice import Detector
from ..runs.processes import is_main_process, on_main, require_same, share
from ..runs.records import RecordFile

MIN_BALANCED_UTTERANCES = 200  # of a language in Balanced-FLEURS
CHUNK = 200  # rows between two writes to the file of checks
CHECK_FORM = {"id": str, "seconds": float, "reason": str | None}
NOTE_COLUMNS = ("id", "split", "sentence_id", "gender", "age", "accent", "speaker")


@dataclass(frozen=True)
class Corpus:
    """A corpus of the study.

    Attributes:
        source: where the rows come from.
        splits: the splits to use, put together.
        balanced: whether to keep only sentences that both a man and a woman have read, so that the genders are compared
            on the same sentences.
    """

    source: Source
    splits: tuple[str, ...]
    balanced: bool

    @classmethod
    def balanced_from(cls, source: Source) -> "Corpus":
        """All splits, balanced: the report's Balanced-FLEURS, for any corpus with sentence ids."""
        return cls(source, SPLITS, balanced=True)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    def read(self, language: str) -> Dataset:
        """Reads all rows (`FEATURES`) of the splits. An id has its split in front, since two splits may share ids."""
        rows = concatenate_datasets([self.source.read(split, language) for split in self.splits])
        ids = [f"{split}/{name}" for split, name in zip(rows["split"], rows["id"], strict=True)]
        rows = rows.remove_columns("id").add_column("id", ids, feature=FEATURES["id"])
        return rows.select_columns(list(FEATURES))


def select_rows(
    rows: Dataset,
    checked: RecordFile,
    has_speech: Detector | None = None,
    balanced: bool = False,
    min_utterances: int = MIN_BALANCED_UTTERANCES,
) -> tuple[Dataset, list[dict]]:
    """Chooses the rows of one language.

    Under `torchrun` all processes call it, with the same rows, and share the checks.

    Left out are, in this order, rows that cannot be scored (no text, or no readable audio) and rows without speech. To
    balance, also rows without a sentence id or a male or female reader; rows whose sentence was not read by both, among
    the remaining recordings; and all rows if fewer than `min_utterances` remain. Several recordings of a sentence by
    one gender are all kept: differences and tests of gender give both genders of a sentence the same weight, histograms
    count every recording.

    Args:
        rows: of one language (`FEATURES`).
        checked: file of the result for each recording, so that an interrupted selection can continue.
        has_speech: a voice activity detector. Without one, all recordings count as speech.
        balanced: whether to balance the genders.
        min_utterances: with `balanced`, how many utterances a language needs.

    Returns:
        The rows, with `seconds`; and a note for every given row: `NOTE_COLUMNS`, `seconds`, `kept`, and `reason`, which
        is `None` for rows that are kept.
    """
    checks = _check(rows, checked, has_speech)
    metadata = rows.select_columns(list(NOTE_COLUMNS))
    notes = [{name: row[name] for name in NOTE_COLUMNS} | checks[row["id"]] for row in metadata]
    if balanced:
        _balance(notes, min_utterances)
    for note in notes:
        note["kept"] = note["reason"] is None
    seconds = [note["seconds"] for note in notes]
    kept = [index for index, note in enumerate(notes) if note["kept"]]
    return rows.add_column("seconds", seconds, feature=Value("float64")).select(kept), notes


def count_reasons(notes: list[dict]) -> Counter:
    """Number of rows left out, by reason."""
    return Counter(note["reason"] for note in notes if not note["kept"])


def _check(rows: Dataset, checked: RecordFile, has_speech: Detector | None) -> dict[str, dict]:
    """`seconds` and `reason` (`None` if the row holds speech that can be scored) of each recording, by id."""
    require_same(f"rows for {checked.path.name}", [rows[name][:] for name in ("id", "text")])
    mine, own = share(on_main(_unchecked, rows, checked)), checked.of_this_process()
    fresh: list[dict] = []
    is_quiet = not is_main_process()
    bar = tqdm(desc=f"Checking {checked.path.stem}", total=len(mine), unit="clip", leave=False, disable=is_quiet)
    for row in rows.select(mine):
        reason, seconds = check_scorable(row)
        if reason is None and has_speech is not None and not has_speech(read_audio(row["audio"])):
            reason = "no speech"
        fresh.append({"id": row["id"], "seconds": seconds, "reason": reason})
        bar.update()
        if len(fresh) == CHUNK:
            own.add(fresh)
            fresh = []
    bar.close()
    own.add(fresh)
    checked.merge()
    known = on_main(checked.read, CHECK_FORM)
    return {record["id"]: {"seconds": record["seconds"], "reason": record["reason"]} for record in known}


def _unchecked(rows: Dataset, checked: RecordFile) -> list[int]:
    """The indices of the rows to check."""
    reasons = {record["id"]: record["reason"] for record in checked.read(CHECK_FORM)}
    # A file may have been repaired since. A text is checked again, which costs nothing.
    return [
        index
        for index, (name, text) in enumerate(zip(rows["id"], rows["text"], strict=True))
        if reasons.get(name, "") not in (None, "no speech") or not text.strip()
    ]


def _balance(notes: list[dict], min_utterances: int) -> None:
    """Gives a reason to the rows that a balanced corpus leaves out."""
    for note in notes:
        if note["reason"] is None and not note["sentence_id"]:
            note["reason"] = "no sentence id"
        if note["reason"] is None and note["gender"] not in ("male", "female"):
            note["reason"] = "neither male nor female"
    readers = defaultdict(set)
    for note in notes:
        if note["reason"] is None:
            readers[note["sentence_id"]].add(note["gender"])
    for note in notes:
        if note["reason"] is None and len(readers[note["sentence_id"]]) < 2:
            note["reason"] = "sentence not read by both"
    remaining = [note for note in notes if note["reason"] is None]
    if len(remaining) < min_utterances:
        for note in remaining:
            note["reason"] = f"language with fewer than {min_utterances} utterances"
