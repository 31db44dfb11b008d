"""Parts of a file as files of their own, for libsndfile: the links of joined recordings, with repaired headers."""

import io
import os
import re
from collections.abc import Iterator, Mapping

File = io.BytesIO | io.FileIO  # opened for reading; without a buffer, since libsndfile shares its position
CHUNK = 1 << 20  # bytes
FLAC_START = re.compile(rb"fLaC[\0\x80]\0\0\x22", re.DOTALL)  # the marker, and the head of the first block
OGG_PAGE = re.compile(rb"OggS\0([\0-\7])", re.DOTALL)  # the marker, the version, and flags: 2 begins a stream
BEGINS_STREAM = 2
# A length of a file that libsndfile never reaches.
ENDLESS = 1 << 40


class Content(io.BytesIO):
    """The bytes of a file. libsndfile may look for a place before the start of a damaged one."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        return super().seek(max(0, offset) if whence == os.SEEK_SET else offset, whence)


class Window:
    """Bytes `start` to `end` of a file as a file, with some of them replaced.

    Args:
        file: opened for reading.
        start: of the window.
        end: of the window.
        patches: bytes by their offset in the window.
        endless: whether to tell a length far beyond the end. libsndfile guesses the length of an mp3 from it, and reads
            no further than it guessed.
    """

    def __init__(
        self,
        file: File,
        start: int,
        end: int,
        patches: Mapping[int, bytes] | None = None,
        endless: bool = False,
    ):
        self.file, self.start, self.size = file, start, end - start
        self.patches, self.endless = patches or {}, endless
        self.position = 0
        self.failure: OSError | None = None  # an exception cannot pass through libsndfile

    def patched(self, patches: Mapping[int, bytes], endless: bool = False) -> "Window":
        """The same window with other bytes."""
        return Window(self.file, self.start, self.start + self.size, patches, endless)

    @property
    def is_whole_file(self) -> bool:
        """Whether it shows nothing but the file itself."""
        return not (self.start or self.patches or self.endless) and self.size == self.file.seek(0, os.SEEK_END)

    def head(self, size: int = 4096, offset: int = 0) -> bytes:
        """The bytes from an offset on, without patches."""
        self.file.seek(self.start + offset)
        return self.file.read(max(0, min(size, self.size - offset)))

    @property
    def remaining(self) -> int:
        """Bytes after the position."""
        return max(0, self.size - self.position)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        self.position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence])
        return self.tell()

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self.position + (ENDLESS if self.endless and self.position == self.size else 0)

    def readinto(self, buffer) -> int:
        """See `io.RawIOBase.readinto`. After an error of the file system (`failure`), the window is at its end."""
        view = memoryview(buffer)[: self.remaining]
        start = self.position
        try:
            self.file.seek(self.start + start)
            count = self.file.readinto(view)
        except OSError as error:
            self.failure, count = error, 0
        for offset, content in self.patches.items():
            first, last = max(offset, start), min(offset + len(content), start + count)
            if first < last:
                view[first - start : last - start] = content[first - offset : last - offset]
        self.position = start + count
        return count


def links_of(file: File) -> list[Window]:
    """The recordings that were joined into a file, each as a window: of WAV, Ogg and FLAC. Other files are one window.

    libsndfile reads the first recording of such a file, and says nothing of the others.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4)
    starts = [0]
    if head == b"OggS":
        begins = False
        for offset, match in _find(file, OGG_PAGE):
            before, begins = begins, bool(match[1][0] & BEGINS_STREAM)
            if begins and not before and offset:  # streams side by side, such as video, begin one after the other
                starts.append(offset)
    elif head == b"RIFF":
        while (after := _after_riff(file, starts[-1], size)) is not None:
            starts.append(after)
    elif head == b"fLaC":
        starts += [offset for offset, _ in _find(file, FLAC_START) if offset]
    return [Window(file, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def _after_riff(file: File, start: int, size: int) -> int | None:
    """Where the next RIFF file begins right after the one at `start`; `None` if none does."""
    file.seek(start + 4)
    length = int.from_bytes(file.read(4), "little")
    after = start + 8 + length + length % 2
    if after + 12 > size:
        return None
    file.seek(after)
    begin = file.read(12)
    return after if begin[:4] == b"RIFF" and begin[8:] == b"WAVE" else None


def _find(file: File, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, re.Match]]:
    """The matches of a pattern of at most 16 bytes in a file, with their offsets."""
    start, content, done = 0, b"", 0  # offset of `content`; matches before `done` were given
    chunk_size = min(CHUNK, file.seek(0, os.SEEK_END))
    file.seek(0)
    while chunk := file.read(chunk_size):
        content += chunk
        for match in pattern.finditer(content):
            if start + match.start() >= done:
                done = start + match.end()
                yield start + match.start(), match
        start += max(0, len(content) - 16)
        content = content[-16:]


def id3_length(head: bytes) -> int:
    """Length of the ID3v2 tag that a file begins with, from its first 10 bytes; 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    first, second, third, fourth = head[6:10]
    return 10 + (first << 21 | second << 14 | third << 7 | fourth)
