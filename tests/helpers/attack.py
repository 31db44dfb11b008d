"""Fifty requests that no honest client sends, as bytes, and what a server answered to them."""

import io
import json
import os
import socket
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .serving import NAME, encoded, wav

ADDRESS = "/v1/audio/transcriptions"
BOUNDARY = "x"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
BEHIND = "a huge head behind a request that is fine"
WAIT = 30  # seconds for an answer, after which a server counts as stuck


@dataclass(frozen=True)
class Hostile:
    """One request.

    Attributes:
        name: what is wrong with it.
        parts: bytes, with a pause of half a second between two.
        allowed: the first digits of the answers that are right; "" where the server may hang up without one.
        hangs_up: whether the client goes without reading.
    """

    name: str
    parts: tuple[bytes, ...]
    allowed: tuple[str, ...] = ("4",)
    hangs_up: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back: status (0 without one), body, and seconds until the server hung up."""

    status: int
    body: bytes
    seconds: float

    def is_an_error_in_openais_form(self) -> bool:
        """Whether a program can read it as one."""
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return False
        return error.keys() == {"message", "type", "param", "code"} and bool(error["message"])


def field(name: str, value: bytes, filename: str | None = None) -> bytes:
    """One part of a form."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    head += "" if filename is None else f'; filename="{filename}"'
    return head.encode() + b"\r\n\r\n" + value + b"\r\n"


def form(content: bytes, filename: str = "a.wav", **fields: str) -> bytes:
    """The body of a request that has a recording."""
    fields = {"model": NAME, "language": "gl"} | fields
    parts = [field(name, value.encode()) for name, value in fields.items()]
    return b"".join(parts) + field("file", content, filename) + f"--{BOUNDARY}--\r\n".encode()


def requests(key: str) -> list[Hostile]:
    """The fifty."""

    def head(*lines: str, kind: str = FORM, first: str = f"POST {ADDRESS}", key: str = key) -> bytes:
        always = (f"{first} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", "Connection: close")
        return "\r\n".join([*always, f"Content-Type: {kind}", *lines, "", ""]).encode()

    def post(body: bytes, *lines: str, **settings: str) -> tuple[bytes, ...]:
        return (head(f"Content-Length: {len(body)}", *lines, **settings) + body,)

    good = wav(1.2, 440)
    return [
        *(Hostile(f"wrong type: {name}", post(form(content, "a.wav"))) for name, content in _no_recordings().items()),
        *(Hostile(f"cut: {name}", post(form(content)), ("2", "4")) for name, content in _cut_recordings().items()),
        Hostile("hours of silence in a small file", post(form(_hours_of_silence(), "a.flac"))),
        *(
            Hostile(f"path as a file's name: {name[:20]!r}", post(form(good, name)), ("2",))
            for name in ("../../../etc/passwd", "C:\\\\windows\\\\a.wav", "-i", "file:///etc/passwd")
        ),
        Hostile("a name of 50,000 letters", post(form(good, "x" * 50_000))),
        *(
            Hostile(f"path as {name}", post(form(good, **{name: "../../etc/passwd"})))
            for name in ("model", "language", "response_format")
        ),
        *(Hostile(f"language {name[:12]!r}", post(form(good, language=name))) for name in _languages()),
        Hostile("a header of 100,000 letters", post(form(good), f"X-Huge: {'x' * 100_000}")),
        Hostile("5,000 headers", post(form(good), *(f"X-{number}: {number}" for number in range(5000)))),
        Hostile("an address of 100,000 letters", post(form(good), first=f"POST /{'x' * 100_000}")),
        Hostile("a body that stops", (head("Content-Length: 5000") + form(good)[:200],)),
        Hostile("a body of one byte each half second", (head("Content-Length: 5000"), *([b"-"] * 20))),
        Hostile("a larger body than is said", (head("Content-Length: 3000000000") + form(good),)),
        Hostile("a body without an end", (_chunked(head), *([_chunk(bytes(400_000))] * 5)), ("413", "")),
        Hostile("a length below zero", (head("Content-Length: -1") + form(good),)),
        Hostile("two lengths", (head("Content-Length: 10", "Content-Length: 20") + form(good),)),
        Hostile("a length and chunks", (head("Content-Length: 10", "Transfer-Encoding: chunked") + b"0\r\n\r\n",)),
        Hostile("chunks that are none", (_chunked(head) + b"zz\r\n",)),
        Hostile("no words of HTTP", (b"\x00\x01\x02\xff\r\n\r\n",)),
        Hostile("TLS to a plain port", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",)),
        Hostile("gone before the body", (head("Content-Length: 50000"),), ("",), hangs_up=True),
        Hostile("gone within the body", (head("Content-Length: 50000") + form(good)[:900],), ("",), hangs_up=True),
        Hostile("gone before the answer", post(form(wav(20))), ("",), hangs_up=True),
        Hostile(BEHIND, (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + head(f"X-Huge: {'x' * 200_000}"),), ("2",)),
        Hostile("gone at once", (), ("",), hangs_up=True),
        Hostile("no form", post(b'{"model": "tiny"}', kind="application/json")),
        Hostile("a form without a boundary", post(form(good), kind="multipart/form-data")),
        Hostile("a thousand fields", post(b"".join(field(f"f{n}", b"1") for n in range(1000)) + form(good))),
        Hostile("a prompt of special tokens", post(form(good, prompt="<|endoftext|>" * 50))),
        Hostile("a temperature that is no number", post(form(good, temperature="nan"))),
        Hostile("the method TRACE", (head(first=f"TRACE {ADDRESS}"),)),
        Hostile("the wrong key", post(form(good), key="wrong")),
    ]


def _no_recordings() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(10**7))
    header_of_hours = bytearray(wav(0.1))
    return {
        "nothing": b"",
        "text": b"not a recording " * 100,
        "noise": os.urandom(50_000),
        "a picture": b"\x89PNG\r\n\x1a\n" + os.urandom(5000),
        "an archive that grows": archive.getvalue(),
        "a playlist": b"#EXTM3U\n/etc/passwd\nhttp://127.0.0.1/\n",
        "a header alone": bytes(header_of_hours[:44]),
    }


def _cut_recordings() -> dict[str, bytes]:
    samples = np.frombuffer(wav(1.2, 440)[44:], np.int16)
    kinds = {kind: encoded(samples, kind) for kind in ("WAV", "FLAC", "OGG", "MP3")}
    return {kind: content[: len(content) * 2 // 3] for kind, content in kinds.items()}


def _hours_of_silence() -> bytes:
    """Ten hours in less than the megabyte that the server takes: one rate in a thousand of what they would be."""
    seconds, rate = 36_000, 1000
    return encoded(np.zeros(seconds * rate, np.int16), "FLAC", rate)


def _languages() -> list[str]:
    return ["xx", "klingon", "<|en|>", "x" * 10_000, "\U0001f600"]


def _chunked(head: Callable[..., bytes]) -> bytes:
    return head("Transfer-Encoding: chunked") + _chunk(field("file", b"", "a.wav")[:-2])


def _chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def send(address: tuple[str, int], hostile: Hostile) -> Answer:
    """Sends one, and reads what the server says until it hangs up.

    Raises:
        TimeoutError: it neither answers nor hangs up.
    """
    begun, answer = time.monotonic(), b""
    with socket.create_connection(address, timeout=WAIT) as connection:
        try:
            for number, part in enumerate(hostile.parts):
                time.sleep(0.5 if number else 0)
                connection.sendall(part)
            if hostile.hangs_up:
                time.sleep(0.2)
                # With a reset, as a process that dies.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return Answer(0, b"", time.monotonic() - begun)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered before all was sent
        answer = b"".join(_read(connection))
    line, _, rest = answer.partition(b"\r\n")
    status = int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
    return Answer(status, rest.partition(b"\r\n\r\n")[2], time.monotonic() - begun)


def _read(connection: socket.socket) -> Iterator[bytes]:
    try:
        while part := connection.recv(65536):
            yield part
    except ConnectionResetError:
        return
