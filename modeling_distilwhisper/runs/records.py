"""Records of a run as JSON lines: added in batches, and read again after an interruption."""

import json
from pathlib import Path

from .files import write_atomically


class RecordFile:
    """A file of records as JSON lines. A last record that was cut off while it was written is deleted.

    Args:
        path: the file; its folder is made.

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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = self.path.read_bytes() if self.path.is_file() else b""
        if content and not content.endswith(b"\n"):
            with open(self.path, "r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)

    def read(self) -> list[dict]:
        """All records so far."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def keep(self, records: list[dict]) -> None:
        """Replaces all records by these."""
        write_atomically(self.path, "".join(_line(record) for record in records))

    def add(self, records: list[dict]) -> None:
        """Adds records at the end."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.writelines(map(_line, records))


def _line(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
