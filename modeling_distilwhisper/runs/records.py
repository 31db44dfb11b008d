"""Records of a run as JSON lines: added as they come, read again after an interruption."""

import json
from pathlib import Path

from .files import write_atomically


class RecordFile:
    """Records as JSON lines, added as they come; one that was cut off in writing is dropped.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.read_bytes() if self.path.is_file() else b""
        if whole and not whole.endswith(b"\n"):
            with open(self.path, "r+b") as file:
                file.truncate(whole.rfind(b"\n") + 1)

    def read(self) -> list[dict]:
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def keep(self, records: list[dict]) -> None:
        """These records in place of all."""
        write_atomically(self.path, "".join(_line(record) for record in records))

    def add(self, records: list[dict]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.writelines(map(_line, records))


def _line(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
