"""Extracts files from a tar archive into the cache of `datasets`: the listing first, then only the wanted clips."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import unicodedata
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import datasets
from tqdm.auto import tqdm

from ..runs.files import atomic_path, write_atomically
from .rows import path_inside

# How large an archive may unfold: this many times its size, and some bytes more for small ones. Audio hardly shrinks in
# an archive, while zeros shrink to a thousandth.
MOST_TIMES, MOST_BYTES_MORE = 20, 64 * 2**20


class _Unfolding:
    """The bytes of a .tar or .tar.gz without compression, up to the size that the archive may unfold to."""

    def __init__(self, archive: Path, file: IO[bytes]):
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self.archive = archive
        self.content = gzip.GzipFile(fileobj=file) if is_gzip else file
        self.left = MOST_TIMES * archive.stat().st_size + MOST_BYTES_MORE

    def read(self, size: int) -> bytes:
        chunk = self.content.read(size)
        self.take(len(chunk))
        return chunk

    def take(self, size: int) -> None:
        self.left -= size
        self.require(0)

    def require(self, size: int) -> None:
        """Raises ValueError if so many more bytes are too many."""
        if size > self.left:
            raise ValueError(
                f"{self.archive} unfolds to more than {MOST_TIMES} times its size, which audio does not. Fetch it "
                "again; if it is right, unpack it and give the folder."
            )


def unpack(archive: Path, wanted: Collection[str]) -> Path:
    """Extracts members of a .tar or .tar.gz. Members that an earlier call extracted are not read again.

    Archives are not trusted: only regular files are extracted, no links, devices or pipes, under the wanted names
    alone; and an archive may unfold to twenty times its size only.

    Args:
        archive: the file.
        wanted: ends of member paths, such as "gl/test.tsv"; the leading folders differ between archives.

    Returns:
        The folder that holds the members under these names. It lacks the members that the archive lacks.

    Raises:
        ValueError: the file is not a tar archive, it is cut off, or it unfolds to too many bytes.
    """
    # With the digest, another file of the same name, or a newer one, has another folder.
    status = archive.stat()
    digest = hashlib.sha256(f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = Path(datasets.config.HF_DATASETS_CACHE, "unpacked", f"{archive.name.split('.tar')[0]}-{digest}")
    folder.mkdir(parents=True, exist_ok=True)
    absent_file = folder / ".absent.json"  # names that the archive lacks, from earlier calls
    absent = set(json.loads(absent_file.read_text())) if absent_file.is_file() else set()
    paths = {name: path for name in wanted if (path := path_inside(folder, name)) and _can_be_written(name)}
    missing = {name for name, path in paths.items() if not os.path.isfile(path)} - absent
    if not missing:
        return folder
    # Archives of macOS write "é" as two code points, where the listing has one.
    names = {unicodedata.normalize("NFC", name.replace("\\", "/")): name for name in missing}
    depths = {name.count("/") + 1 for name in names}
    bar = tqdm(desc=f"Unpacking {archive.name}", total=len(missing), unit="file", leave=False)
    try:
        with open(archive, "rb") as file:
            content = _Unfolding(archive, file)
            with tarfile.open(fileobj=content, mode="r|", bufsize=2**16) as members, bar:  # type: ignore[call-overload]
                for member in members:
                    parts = unicodedata.normalize("NFC", member.name).split("/")
                    end = next((end for depth in depths if (end := "/".join(parts[-depth:])) in names), None)
                    if end is not None and member.isreg() and not member.issparse():
                        content.require(member.size)
                        source = members.extractfile(member)
                        assert source is not None  # it is None for members that are not files
                        name = names.pop(end)
                        _write(source, Path(paths[name]))
                        missing.remove(name)
                        bar.update()
                    if not names:
                        break  # do not read the rest of a corpus of 100 GB
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive} cannot be read as a tar archive ({error}). Fetch it again.") from None
    if missing:
        write_atomically(absent_file, json.dumps(sorted(absent | missing)))
    return folder


def _can_be_written(name: str) -> bool:
    """Whether no part of a name is longer than file systems allow."""
    return all(len(os.fsencode(part)) <= 255 for part in name.split("/"))


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        shutil.copyfileobj(content, file)
