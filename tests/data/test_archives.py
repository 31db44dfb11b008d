"""Of an archive only the chosen clips are unpacked; nothing in it leaves its folder or unfolds without end."""

import io
import tarfile
import unicodedata

import pytest
from helpers import corpora

from modeling_distilwhisper.data.archives import unpack
from modeling_distilwhisper.data.common_voice import read_common_voice
from modeling_distilwhisper.data.usable import keep_scorable

pytestmark = pytest.mark.usefixtures("cache")


def test_only_chosen_clips_leave_the_archive_and_it_is_read_only_once(tmp_path, cache, monkeypatch):
    archive = corpora.pack(corpora.write_common_voice(tmp_path, "gl"))
    rows = read_common_voice(archive, "train", "gl", count=2)
    clips = sorted(path.name for path in cache.rglob("*.mp3"))
    assert clips == ["common_voice_gl_train4.mp3"], "of the two chosen clips one is missing"
    assert len(keep_scorable(rows)[0]) == 1
    monkeypatch.setattr("tarfile.open", None)  # what is absent is not looked for again either
    assert read_common_voice(archive, "train", "gl", count=2)["id"] == rows["id"]


def test_an_archive_cannot_write_outside_its_folder(tmp_path, cache):
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as members:
        for name in ("../../evil.txt", "x/../../evil.txt", "good.txt"):
            corpora.add(members, name, b"text")
    folder = unpack(archive, ["../../evil.txt", "x/../../evil.txt", "good.txt"])
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["good.txt"]
    assert (folder / "good.txt").read_bytes() == b"text"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_pipes_and_devices_stay_in_the_archive(tmp_path, cache, kind):
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as members:
        member = tarfile.TarInfo("gl/a.wav")
        member.type, member.linkname = kind, "/etc/passwd"
        members.addfile(member)
        corpora.add(members, "gl/b.wav", b"sound")
    folder = unpack(archive, ["gl/a.wav", "gl/b.wav"])
    assert [path.name for path in folder.glob("gl/*")] == ["b.wav"]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("name", ["gl/a.wav", "unwanted.bin"])
def test_an_archive_that_unfolds_without_end_is_refused(tmp_path, cache, monkeypatch, kind, name):
    """Zeros shrink to a thousandth: an archive of a few MB could fill disk or memory."""
    monkeypatch.setattr("modeling_distilwhisper.data.archives.MOST_BYTES_MORE", 2**20)
    archive = tmp_path / "bomb.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, 2**24
        members.addfile(member, io.BytesIO(bytes(2**24)))
        corpora.add(members, "gl/b.wav", b"sound")
    with pytest.raises(ValueError, match="bomb.tar.gz unfolds to more than 20 times its size"):
        unpack(archive, ["gl/a.wav", "gl/b.wav"])
    assert not list(cache.rglob("*.wav")) and not list(cache.rglob(".*partial*"))


def test_names_in_an_archive_may_have_another_normal_form_than_in_the_listing(tmp_path):
    archive = tmp_path / "mac.tar"
    with tarfile.open(archive, "w") as members:
        corpora.add(members, unicodedata.normalize("NFD", "dev/été.wav"), b"sound")
    folder = unpack(archive, ["dev/été.wav", r"dev\x.wav"])
    assert (folder / "dev/été.wav").read_bytes() == b"sound"


def test_a_cut_archive_is_named(tmp_path):
    archive = corpora.pack(corpora.write_common_voice(tmp_path, "gl"))
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"tar.gz cannot be read as a tar archive \(.*\). Fetch it again"):
        read_common_voice(archive, "test", "gl")


def test_a_name_too_long_for_any_file_is_one_missing_clip(tmp_path):
    release = corpora.write_common_voice(tmp_path, "gl")
    listing = release / "gl/test.tsv"
    listing.write_text(listing.read_text().replace("common_voice_gl_test0.mp3", "x" * 300))
    _, left_out = keep_scorable(read_common_voice(corpora.pack(release), "test", "gl"))
    assert left_out["missing audio file"] == 2
