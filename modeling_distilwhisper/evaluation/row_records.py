"""A record of each row of a data set, in a file: made in batches of similar length, resumable, by several processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset
from tqdm.auto import tqdm

from ..runs.forms import Form
from ..runs.numbers import COUNT
from ..runs.processes import is_main_process, on_main, require_same, share
from ..runs.records import RecordFile

METADATA = ("id", "data_set", "split", "language", "sentence_id", "gender", "age", "accent", "speaker", "seconds")


@dataclass(frozen=True)
class RecordKind:
    """What records of rows hold.

    Attributes:
        form: what a record must have, as `check_form` takes it. Others are damaged.
        columns: by the name in a record, the column of the row that it repeats. A record is made again where the row
            has another value now.
    """

    form: Form
    columns: Mapping[str, str]


def record_rows(
    file: RecordFile,
    rows: Dataset,
    make: Callable[[Dataset], list[dict]],
    kind: RecordKind,
    *,
    batch_size: int,
    window: float | None = None,
) -> list[dict]:
    """Makes the records that are missing in a file, or that are of rows which have changed. Longest rows first.

    Under `torchrun` all processes call it, with the same rows. Each takes its share, and the file is in the end as one
    process alone would have written it.

    Args:
        file: the records so far. Each batch is added when it is done. Damaged records are made again.
        rows: as a reader makes them, with `seconds` (`keep_scorable`).
        make: from a batch of rows to their records, each with the `id` of its row.
        kind: of the records.
        batch_size: rows per batch.
        window: in seconds; a longer row is a batch alone. `None`: none is.

    Raises:
        ValueError: `batch_size` is below 1, or the processes have different rows.
        FolderInUseError: another process writes into the file's folder.

    Returns:
        The rows' records.
    """
    COUNT.check("batch_size", batch_size)
    columns = dict.fromkeys(["id", *kind.columns.values()])
    require_same(f"rows for {file.path.name}", [rows[name][:] for name in columns])
    order, seconds = on_main(_missing, file, rows, kind), rows["seconds"][:]
    mine, done = share(order), len(rows) - len(order)
    own = file.of_this_process()
    bar = tqdm(total=done + len(mine), initial=done, desc=file.path.stem, unit="clip", disable=not is_main_process())
    for indices in batches_by_length(mine, seconds, batch_size, float("inf") if window is None else window):
        own.add(make(rows.select(indices)))
        bar.update(len(indices))
    bar.close()
    file.merge()
    return on_main(_in_order, file, rows, kind)


def is_recorded(file: RecordFile, rows: Dataset, kind: RecordKind) -> bool:
    """Whether `record_rows` would have nothing to do. All processes call it."""
    return on_main(lambda: len(_done(file, rows, kind)[0]) == len(rows) and not file.is_in_parts())


def _missing(file: RecordFile, rows: Dataset, kind: RecordKind) -> list[int]:
    """The indices of the rows without a record, longest first. Outdated records are deleted."""
    file.hold()
    done, outdated = _done(file, rows, kind)
    if outdated or file.is_in_parts():
        file.keep([record for record in file.read(kind.form) if record["id"] not in outdated])
    names = rows["id"][:]
    return [index for index in _longest_first(rows) if names[index] not in done]


def _in_order(file: RecordFile, rows: Dataset, kind: RecordKind) -> list[dict]:
    """The records of these rows, which it puts in the order in which one process writes them: scores and their
    intervals do then not depend on the number of processes, or on interruptions."""
    names = rows["id"][:]
    places = {names[index]: place for place, index in enumerate(_longest_first(rows))}
    records = file.read(kind.form)
    found = [record for record in records if record["id"] in places]
    in_order = sorted(found, key=lambda record: places[record["id"]])
    if in_order != found:
        file.keep([*(record for record in records if record["id"] not in places), *in_order])
    return in_order


def _longest_first(rows: Dataset) -> list[int]:
    seconds = rows["seconds"][:]
    return sorted(range(len(seconds)), key=lambda index: -seconds[index])


def _done(file: RecordFile, rows: Dataset, kind: RecordKind) -> tuple[set[str], set[str]]:
    """Ids of the rows that the file has a valid record of, and of those whose record is outdated."""
    of_rows = zip(*(rows[column] for column in kind.columns.values()), strict=True)
    current = dict(zip(rows["id"], of_rows, strict=True))
    recorded = {record["id"]: tuple(record[name] for name in kind.columns) for record in file.read(kind.form)}
    done = {name for name, row in current.items() if recorded.get(name) == row}
    return done, (current.keys() & recorded.keys()) - done


def batches_by_length(order: Sequence[int], seconds: Sequence[float], size: int, window: float) -> Iterator[list[int]]:
    """Batches of `size` rows in an order; a row longer than Whisper's window, in seconds, is a batch alone."""
    batch: list[int] = []
    for index in order:
        if seconds[index] > window:
            yield [index]
            continue
        batch.append(index)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
