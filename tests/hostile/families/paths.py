"""Names that lead out of a folder, links, pipes, and archives that unfold without limit."""

import io
import os
import tarfile

import numpy as np
import soundfile

from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.sources import Source
from modeling_distilwhisper.data.usable import check_scorable

from ..trial import Leak, Wrong

SECRET = "secret.wav"
NAMES = {
    "..": f"../../../{SECRET}", "absolute": "{outside}", "windows": f"..\\..\\..\\{SECRET}",
    "dots within": f"x/../../../../{SECRET}",
    "empty": "", "the folder": ".", "NUL": "a\0.wav", "home": f"~/{SECRET}", "address": "https://evil.example/a.wav",
    "file address": "file://{outside}", "very long": "a" * 5000 + ".wav", "long part": "a" * 256 + ".wav",
    "newline": "a\nb.wav",
    "pipe": "|true", "option": "-rf.wav", "protocol": "concat:a.wav|b.wav",
}  # fmt: skip
LANGUAGES = (
    "../x",
    "..",
    "/etc",
    "a/b",
    "",
    "gl\0",
    "*",
    "gl/../../x",
    "{language}",
    "~",
    "C:",
    "gl gl",
    "%2e%2e",
    "\n",
)


def speech():
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(16_000) / 10), 16_000, format="WAV")
    return file.getvalue()


def named(name):
    def act(folder):
        outside = folder / SECRET
        outside.write_bytes(speech())
        split = folder / "corpora/mine/test"
        split.mkdir(parents=True)
        cell = name.format(outside=outside).replace('"', '""')
        (split / "metadata.csv").write_text(f'file_name,text\n"{cell}",ola\n', newline="")
        for row in read_folder(folder / "corpora/mine", "test", "gl"):
            reason, _ = check_scorable(row)
            if reason is None:
                raise Leak(f"a file outside the folder was read: {row['audio']['path']}")
        outside.unlink()

    return act


def link(of_folder):
    def act(folder):
        outside = folder / "private"
        outside.mkdir()
        (outside / SECRET).write_bytes(speech())
        split = folder / "mine/test"
        split.mkdir(parents=True)
        if of_folder:
            (split / "clips").symlink_to(outside)
        else:
            (split / "clips").mkdir()
            (split / "clips" / SECRET).symlink_to(outside / SECRET)
        (split / "metadata.csv").write_text(f"file_name,text\nclips/{SECRET},ola\n")
        for row in read_folder(folder / "mine", "test", "gl"):
            if check_scorable(row)[0] is None:
                raise Leak("a link led out of the folder")

    return act


def special(make):
    def act(folder):
        split = folder / "mine/test"
        split.mkdir(parents=True)
        make(split / "a.wav")
        (split / "metadata.csv").write_text("file_name,text\na.wav,ola\n")
        for row in read_folder(folder / "mine", "test", "gl"):
            if check_scorable(row)[0] is None:
                raise Wrong("no recording, and it was accepted")

    return act


def special_listing(folder):
    (folder / "mine/test").mkdir(parents=True)
    os.mkfifo(folder / "mine/test/metadata.csv")
    read_folder(folder / "mine", "test", "gl")
    raise Wrong("a pipe was read")


def language(code):
    def act(folder):
        private = folder / "x/test"
        private.mkdir(parents=True)
        (private / "metadata.csv").write_text("file_name,text\na.wav,private\n")
        base = folder / "corpora/gl/test"
        base.mkdir(parents=True)
        (base / "metadata.csv").write_text("file_name,text\na.wav,ola\n")
        rows = Source.parse(f"{folder}/corpora/{{language}}").read("test", code)
        if "private" in rows["text"][:]:
            raise Leak("a language led out of the folder")
        raise Wrong(f"language {code!r} was accepted: {rows['text'][:]}")

    return act


def archive(fill):
    def act(folder):
        path = folder / "cv-corpus-13.0.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            listing = b"path\tsentence\tup_votes\na.mp3\tola\t1\n"
            add(tar, "cv/gl/test.tsv", listing)
            fill(tar)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        rows = read_common_voice(path, "test", "gl")
        for row in rows:
            if check_scorable(row)[0] is None:
                raise Leak(f"read from the archive: {row['audio']['path']}")
        escaped = [p for p in folder.rglob("*") if p.name == "escaped.txt"]
        if escaped:
            raise Leak(f"written outside: {escaped}")

    return act


def add(tar, name, content, **settings):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in settings.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


ARCHIVES = {
    "a name with ..": lambda tar: add(tar, "cv/gl/clips/../../../../escaped.txt", b"x"),
    "an absolute name": lambda tar: add(tar, "/tmp/escaped.txt", b"x"),
    "a link": lambda tar: add(tar, "cv/gl/clips/a.mp3", b"", type=tarfile.SYMTYPE, linkname="/etc/hostname"),
    "a hard link": lambda tar: add(tar, "cv/gl/clips/a.mp3", b"", type=tarfile.LNKTYPE, linkname="/etc/hostname"),
    "a pipe": lambda tar: add(tar, "cv/gl/clips/a.mp3", b"", type=tarfile.FIFOTYPE),
    "a device": lambda tar: add(tar, "cv/gl/clips/a.mp3", b"", type=tarfile.CHRTYPE),
    "200 MB of zeros": lambda tar: add(tar, "cv/gl/clips/a.mp3", bytes(200_000_000)),
    "a listing of 200 MB": lambda tar: add(tar, "cv/gl/dev.tsv", bytes(200_000_000)),
    "a listing that is a link": lambda tar: add(
        tar, "cv/gl/dev.tsv", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"
    ),
    "a long name": lambda tar: add(tar, "cv/gl/clips/" + "a" * 300 + ".mp3", b"x"),
}
FILES = {
    "empty": b"", "text": b"hello", "cut": None, "gzip of nothing": b"\x1f\x8b\x08\x00", "zeros": bytes(1000),
}  # fmt: skip


def no_archive(content):
    def act(folder):
        path = folder / "cv-corpus-13.0.tar.gz"
        if content is None:
            with tarfile.open(path, "w:gz") as tar:
                add(tar, "cv/gl/test.tsv", b"path\tsentence\na.mp3\tola\n" + os.urandom(5000))
            path.write_bytes(path.read_bytes()[:2000])
        else:
            path.write_bytes(content)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        read_common_voice(path, "test", "gl")
        raise Wrong("read")

    return act


def trials():
    for name, cell in NAMES.items():
        yield f"file name, {name}", named(cell)
    yield "a link to a file outside", link(of_folder=False)
    yield "a link to a folder outside", link(of_folder=True)
    yield "audio is a pipe", special(os.mkfifo)
    yield "audio is a folder", special(os.mkdir)
    yield "audio is a link to a device", special(lambda path: path.symlink_to("/dev/zero"))
    yield "audio is a link to itself", special(lambda path: path.symlink_to(path))
    yield "the listing is a pipe", special_listing
    for code in LANGUAGES:
        yield f"language {code!r}", language(code)
    for name, fill in ARCHIVES.items():
        yield f"archive with {name}", archive(fill)
    for name, content in FILES.items():
        yield f"archive, {name}", no_archive(content)
