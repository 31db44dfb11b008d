"""The rows that a command works on: read, cut to a number, checked, and refused if none is usable."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from datasets import Dataset
from transformers import WhisperProcessor

from ..runs.language_codes import chosen_language
from .sources import Source
from .usable import MAX_TOKENS, keep_scorable, keep_usable

FilterRows = Callable[[Dataset], tuple[Dataset, Mapping[str, int]]]


@dataclass
class Selection:
    """The usable rows of one corpus, split and language. `str()` of it is the line that a command prints.

    Attributes:
        corpus: name of the corpus (`Source.name`).
        split: "train", "validation" or "test".
        language: Whisper's code.
        rows: the usable rows, with a column `seconds`.
        left_out: number of rows that are not usable, by reason; no reason has 0 rows. Rows that do not fit their table
            are counted in all of the table, before the cut to `max_rows`.
    """

    corpus: str
    split: str
    language: str
    rows: Dataset
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def title(self) -> str:
        """Corpus, split and language: "fleurs test gl"."""
        return f"{self.corpus} {self.split} {self.language}"

    @property
    def hours(self) -> float:
        """Hours of audio in the usable rows."""
        return sum(self.rows["seconds"]) / 3600

    @property
    def reasons(self) -> str:
        """The rows left out, as "2 empty text, 1 unreadable audio"; "none" if every row is usable."""
        return ", ".join(f"{count} {reason}" for reason, count in self.left_out.items()) or "none"

    def __str__(self) -> str:
        return f"{self.title}: {len(self.rows)} rows; left out: {self.reasons}"


def read_rows(
    source: Source,
    split: str,
    language: str,
    *,
    max_rows: int | None = None,
    processor: WhisperProcessor | None = None,
    max_tokens: int = MAX_TOKENS,
    filter_rows: FilterRows | None = None,
    purpose: str | None = None,
) -> Selection:
    """Reads one corpus, split and language, cuts it to `max_rows`, and leaves out the rows that are not usable.

    The steps have this order: `source.read`, `filter_rows`, the cut, the check. So at most `max_rows` rows are checked,
    and fewer may remain.

    Args:
        source: the corpus, one of those that `parse_sources` returns.
        split: "train", "validation" or "test".
        language: Whisper's code or name.
        max_rows: at most this many rows, the first ones; `None` for all.
        processor: the model's. With it a row must fit the model, for training and gates (`keep_usable`); without
            it a row must only be scorable (`keep_scorable`).
        max_tokens: with `processor`, the model's longest target (`config.max_target_positions`).
        filter_rows: gets the rows before the cut; returns the rows to use, and the number of others by reason.
            Translation uses it to put in the English sentences.
        purpose: what the rows are for, such as "train on" or "score". With it, a selection without rows is an error.

    Returns:
        The usable rows, and how many were left out and why. `print(selection)` shows both in one line.

    Raises:
        ValueError: `max_rows` is below 1; no row is usable and `purpose` is given; or what the reader raises.
        FileNotFoundError: the corpus has no such split or language.

    Example:
        >>> from modeling_distilwhisper import parse_sources
        >>> from modeling_distilwhisper.data.selection import read_rows
        >>> (source,) = parse_sources(["quickstart=examples/quickstart/in_domain/{language}"], ["ca"])
        >>> selection = read_rows(source, "test", "ca", max_rows=4, purpose="score")
        >>> print(selection)
        quickstart test ca: 4 rows; left out: none
        >>> selection.rows["id"][:2]
        ['000.ogg', '001.ogg']
    """
    if max_rows is not None and max_rows < 1:
        raise ValueError(f"max_rows must be 1 or more, got {max_rows}. Leave it out to use all rows.")
    language = chosen_language(language)
    left_out: Counter[str] = Counter()
    rows = source.read(split, language, left_out, max_rows if filter_rows is None else None)
    if filter_rows is not None:
        rows, dropped = filter_rows(rows)
        left_out.update(dropped)
    if max_rows is not None:
        rows = rows.select(range(min(max_rows, len(rows))))
    rows, unusable = keep_scorable(rows) if processor is None else keep_usable(rows, processor, max_tokens)
    left_out.update(unusable)
    selection = Selection(source.name, split, language, rows, +left_out)  # `+` drops the reasons with 0 rows
    if purpose is not None and not len(rows):
        raise ValueError(
            f"No usable row in {selection.title}: nothing to {purpose}. Left out: {selection.reasons}. Check the "
            f"location {source.spec!r} and its files."
        )
    return selection
