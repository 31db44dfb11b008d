"""Records of a run as JSON lines: added in batches, by one process or several, and read again after an interruption."""

import glob
import json
from pathlib import Path

from transformers.utils import logging

from .files import write_atomically
from .forms import Form, check_form, parse_json
from .lock import hold
from .processes import gather, number_of_processes, on_main, process_index

logger = logging.get_logger(__name__)

# Before the number of a process, at the end of the name of its file: no name of a language or corpus ends so.
OF_PROCESS = ".process-"


class RecordFile:
    """A file of records as JSON lines. Records that have an `id` are unique by it: of two, the later one counts.

    Only one run at a time writes into its folder (`runs/lock.py`). A last record that was cut off while it was written
    does not count, and the next record takes its place. Where several processes work together, each adds to a file of
    its own beside this one (`of_this_process`), and `merge` puts the records of all into this file. What an interrupted
    run left in such files is read too, and the next `keep` or `add` puts it into this file.

    Args:
        path: the file; its folder is made when it is written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = RecordFile(f"{folder}/gl.jsonl")
        ...     file.add([{"id": "1", "hypothesis": "bos días"}])
        ...     file.read()
        [{'id': '1', 'hypothesis': 'bos días'}]
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._ids: set | None = None  # of the records in the file, known from the first `add` on

    def hold(self) -> None:
        """Makes this run the only one that writes here.

        Raises:
            FolderInUseError: another run writes here.
        """
        hold(self.path.parent)

    def of_this_process(self) -> "RecordFile":
        """The file that this process adds to while several work: one beside this file. One process alone: this file."""
        if number_of_processes() == 1:
            return self
        return RecordFile(self.path.with_name(f"{self.path.name}{OF_PROCESS}{process_index()}"))

    def merge(self) -> None:
        """Puts what each process has added into this file, once all have done their share. All processes call it.

        The records reach the main process by the network: on some shared disks it would not see all files yet.
        """
        own = self.of_this_process()
        if own is self:
            return
        added = gather(own.read())
        if added:
            on_main(self._keep_with, added)
        own.path.unlink(missing_ok=True)

    def is_in_parts(self) -> bool:
        """Whether an interrupted run of several processes left records beside this file."""
        return bool(self._parts())

    def read(self, form: Form = dict) -> list[dict]:
        """All records so far. Damaged ones are left out with a warning.

        Args:
            form: what each record must be, as `check_form` takes it.
        """
        records: list[dict] = []
        for path in (self.path, *self._parts()):
            of_file, damaged = _read(path, form)
            records += of_file
            if damaged:
                line, reason = next(iter(damaged.items()))
                rest = f"the first in line {line}: {reason}"
                logger.warning(f"{path}: {len(damaged)} damaged records are left out, {rest}")
        return _unique(records)

    def keep(self, records: list[dict]) -> None:
        """Replaces all records by these."""
        self.hold()
        self._ids = None
        write_atomically(self.path, "".join(map(_line, _unique(records))))
        for path in self._parts():
            path.unlink(missing_ok=True)

    def add(self, records: list[dict]) -> None:
        """Adds records at the end. One with the `id` of an earlier record replaces it."""
        self.hold()
        if self._ids is None:
            before = self.read()
            if self.is_in_parts() or _content(self.path) != "".join(map(_line, before)).encode():
                self.keep(before)  # without records that are damaged, cut off or there twice
            self._ids = set(_ids(before))
        ids = _ids(records)
        if self._ids.intersection(ids) or len(set(ids)) < len(ids):
            self.keep([*self.read(), *records])
            return
        with open(self.path, "ab", buffering=0) as file:
            end, lines = file.tell(), "".join(map(_line, records)).encode()
            try:
                while lines:
                    lines = lines[file.write(lines) :]
            except OSError:  # the disk is full: no part of a record stays
                file.truncate(end)
                raise
        self._ids.update(ids)

    def _keep_with(self, added: list[dict]) -> None:
        self.keep([*self.read(), *added])

    def _parts(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{glob.escape(self.path.name)}{OF_PROCESS}*"))


def _read(path: Path, form: Form) -> tuple[list[dict], dict[int, str]]:
    """The records of a file, and by number of line why one is damaged."""
    records: list[dict] = []
    damaged: dict[int, str] = {}
    content = _content(path)
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line, form)
            check_form(record.get("id"), str | int | None, "id")
            records.append(record)
        except ValueError as error:
            damaged[number] = str(error)
    return records, damaged


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _ids(records: list[dict]) -> list:
    return [record["id"] for record in records if "id" in record]


def _unique(records: list[dict]) -> list[dict]:
    """The records, of those with the same `id` the last."""
    by_id = {("id", record["id"]) if "id" in record else number: record for number, record in enumerate(records)}
    return list(by_id.values())


def _line(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
