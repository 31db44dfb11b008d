"""The study's rows (section 3.1.1), and of each that is left out, why: Balanced-FLEURS, and corpora as they are."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from datasets import Dataset, Value, concatenate_datasets
from tqdm.auto import tqdm

from ..data import Source, check_scorable
from ..data.audio import read_audio
from ..data.rows import FEATURES, SPLITS
from ..runs.records import RecordFile
from .voice import HasSpeech

MIN_BALANCED_UTTERANCES = 200  # of a language in Balanced-FLEURS
CHUNK = 200  # rows checked between two writes
NOTED = ("id", "split", "sentence_id", "gender", "age", "accent", "speaker")


@dataclass(frozen=True)
class Corpus:
    """A corpus of the study.

    Attributes:
        source: where its rows come from.
        splits: which are mixed.
        balanced: whether only sentences stay that a man and a woman have read. The genders are then compared on the
            same sentences.
    """

    source: Source
    splits: tuple[str, ...]
    balanced: bool

    @classmethod
    def balanced_from(cls, source: Source) -> "Corpus":
        """The report's Balanced-FLEURS: all splits, of any corpus that says which recordings share a sentence."""
        return cls(source, SPLITS, balanced=True)

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, language: str) -> Dataset:
        """All rows (`FEATURES`) of the splits; a row's id has its split in front, since ids may repeat in another."""
        rows = concatenate_datasets([self.source.read(split, language) for split in self.splits])
        ids = [f"{split}/{name}" for split, name in zip(rows["split"], rows["id"], strict=True)]
        rows = rows.remove_columns("id").add_column("id", ids, feature=FEATURES["id"])
        return rows.select_columns(list(FEATURES))


def select(
    rows: Dataset,
    checked: RecordFile,
    has_speech: HasSpeech | None = None,
    balanced: bool = False,
    least: int = MIN_BALANCED_UTTERANCES,
) -> tuple[Dataset, list[dict]]:
    """Chooses one language's rows.

    In this order, rows go that cannot be scored (no text, no audio that can be read); that hold no speech; and, to
    balance, that say no male or female reader or no sentence, whose sentence was not read by both (of the recordings
    that are left), and at last all, where fewer than `least` remain. Several recordings of a sentence by one gender
    all stay: differences and tests of gender give both genders of a sentence the same weight, histograms count all.

    Args:
        checked: what was heard in each recording, kept so that an interrupted selection goes on.
        has_speech: a voice activity detector; without one all recordings count as speech.

    Returns:
        The rows, with `seconds`, and for every row given: `NOTED`, `seconds`, `kept`, and `reason` where it is not.
    """
    heard = _hear(rows, checked, has_speech)
    notes = [{name: row[name] for name in NOTED} | heard[row["id"]] for row in rows.select_columns(list(NOTED))]
    if balanced:
        _balance(notes, least)
    for note in notes:
        note["kept"] = note["reason"] is None
    seconds = [note["seconds"] for note in notes]
    kept = [index for index, note in enumerate(notes) if note["kept"]]
    return rows.add_column("seconds", seconds, feature=Value("float64")).select(kept), notes


def count_reasons(notes: list[dict]) -> Counter:
    """How many rows were left out, by reason."""
    return Counter(note["reason"] for note in notes if not note["kept"])


def _hear(rows: Dataset, checked: RecordFile, has_speech: HasSpeech | None) -> dict[str, dict]:
    """`seconds` and `reason` (`None`: there is speech that can be scored) by id."""
    known = {record["id"]: record for record in checked.read()}
    fresh: list[dict] = []
    for row in tqdm(rows, desc=f"Listening to {checked.path.stem}", unit="clip", leave=False):
        # What was wrong may have been mended; a text costs nothing to look at again.
        if known.get(row["id"], {"reason": ""})["reason"] not in (None, "no speech") or not row["text"].strip():
            reason, seconds = check_scorable(row)
            if reason is None and has_speech is not None and not has_speech(read_audio(row["audio"])):
                reason = "no speech"
            known[row["id"]] = {"id": row["id"], "seconds": seconds, "reason": reason}
            fresh.append(known[row["id"]])
        if len(fresh) == CHUNK:
            checked.add(fresh)
            fresh = []
    checked.add(fresh)
    return {name: {"seconds": record["seconds"], "reason": record["reason"]} for name, record in known.items()}


def _balance(notes: list[dict], least: int) -> None:
    for note in notes:
        if note["reason"] is None and not note["sentence_id"]:
            note["reason"] = "no sentence id"
        if note["reason"] is None and note["gender"] not in ("male", "female"):
            note["reason"] = "neither male nor female"
    read_by = defaultdict(set)
    for note in notes:
        if note["reason"] is None:
            read_by[note["sentence_id"]].add(note["gender"])
    for note in notes:
        if note["reason"] is None and len(read_by[note["sentence_id"]]) < 2:
            note["reason"] = "sentence not read by both"
    left = [note for note in notes if note["reason"] is None]
    if len(left) < least:
        for note in left:
            note["reason"] = f"language with fewer than {least} utterances"
