"""Files out of a tar archive, once, into the data sets' cache: a listing first, then only the clips that are wanted."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path

import datasets
from tqdm.auto import tqdm

from ..runs.files import atomic_path, write_atomically
from .rows import inside


def unpack(archive: Path, wanted: Collection[str]) -> Path:
    """Takes members out of a .tar or .tar.gz; those that an earlier call took out are not looked for again.

    Args:
        wanted: the last parts of their names, as "gl/test.tsv": archives differ in the folders in front.

    Returns:
        The folder that holds them under these names. A member that the archive lacks is not there.

    Raises:
        ValueError: the file is no tar archive, or ends too early.
    """
    # Another file of the same name, or a newer one, gets a folder of its own.
    known = archive.stat()
    mark = hashlib.sha256(f"{archive.resolve()} {known.st_size} {known.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = Path(datasets.config.HF_DATASETS_CACHE, "unpacked", f"{archive.name.split('.tar')[0]}-{mark}")
    folder.mkdir(parents=True, exist_ok=True)
    absent = folder / ".absent.json"  # what it was once looked through for in vain
    known_absent = set(json.loads(absent.read_text())) if absent.is_file() else set()
    missing = {name for name in wanted if (path := inside(folder, name)) and not os.path.isfile(path)} - known_absent
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
                    _write(members.extractfile(member), Path(inside(folder, name)))
                    missing.remove(name)
                    bar.update()
                if not missing:
                    break  # the rest of a corpus of 100 GB is not read
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive} cannot be read as a tar archive ({error}). Fetch it again.") from None
    if missing:
        write_atomically(absent, json.dumps(sorted(known_absent | missing)))
    return folder


def _write(content, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        shutil.copyfileobj(content, file)
