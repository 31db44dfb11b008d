"""Extracts files from a tar archive into the cache of `datasets`: the listing first, then only the wanted clips."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import datasets
from tqdm.auto import tqdm

from ..runs.files import atomic_path, write_atomically
from .rows import path_inside


def unpack(archive: Path, wanted: Collection[str]) -> Path:
    """Extracts members of a .tar or .tar.gz. Members that an earlier call extracted are not read again.

    Args:
        archive: the file.
        wanted: ends of member paths, such as "gl/test.tsv"; the leading folders differ between archives.

    Returns:
        The folder that holds the members under these names. It lacks the members that the archive lacks.

    Raises:
        ValueError: the file is not a tar archive, or it is cut off.
    """
    # With the digest, another file of the same name, or a newer one, has another folder.
    status = archive.stat()
    digest = hashlib.sha256(f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = Path(datasets.config.HF_DATASETS_CACHE, "unpacked", f"{archive.name.split('.tar')[0]}-{digest}")
    folder.mkdir(parents=True, exist_ok=True)
    absent_file = folder / ".absent.json"  # names that the archive lacks, from earlier calls
    absent = set(json.loads(absent_file.read_text())) if absent_file.is_file() else set()
    missing = {name for name in wanted if (path := path_inside(folder, name)) and not os.path.isfile(path)} - absent
    if not missing:
        return folder
    depths = {name.count("/") + 1 for name in missing}
    bar = tqdm(desc=f"Unpacking {archive.name}", total=len(missing), unit="file", leave=False)
    try:
        with tarfile.open(archive, "r|*") as members, bar:
            for member in members:
                parts = member.name.split("/")
                name = next((end for depth in depths if (end := "/".join(parts[-depth:])) in missing), None)
                if name is not None and member.isfile():
                    content = members.extractfile(member)
                    assert content is not None  # it is None for members that are not files
                    _write(content, Path(path_inside(folder, name)))
                    missing.remove(name)
                    bar.update()
                if not missing:
                    break  # do not read the rest of a corpus of 100 GB
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive} cannot be read as a tar archive ({error}). Fetch it again.") from None
    if missing:
        write_atomically(absent_file, json.dumps(sorted(absent | missing)))
    return folder


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        shutil.copyfileobj(content, file)
