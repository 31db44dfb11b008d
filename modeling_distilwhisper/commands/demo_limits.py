"""What a visitor of the page may ask for: how much, how long, and which of Gradio's addresses.

The page needs few of them. The others fetch files of other servers, run ffmpeg or skip the queue: here there are none.
"""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import soundfile
import torch
from transformers import StoppingCriteria

from ..workarounds import without_notes_of_mpg123

MIB = 2**20
MAX_UPLOAD = 100 * MIB  # bytes of a request with a recording
MAX_REQUEST = MIB  # bytes of any other request
MAX_FOLDER = 20 * MAX_UPLOAD  # bytes that all visitors together may keep here at a time
MAX_MINUTES = 20  # of a recording
MAX_WORK_MINUTES = 10  # of the transcription of a recording
MAX_QUEUE = 20  # visitors who wait
KEPT_SECONDS = 1800  # how long a visitor's files stay
_SAMPLES_PER_SECOND = 2 * 48_000  # more of a recording than stereo at 48 kHz counts as longer
_BLOCK = 1 << 20  # frames that are read at a time

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

UPLOAD, JOIN, FILE = "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/file="
RUN = "/gradio_api/run/predict"  # what needs no queue: an example is put into the page
ADDRESSES = {
    "GET": (
        *("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/pwa_icon", "/login_check"),
        *("/gradio_api/info", "/gradio_api/app_id", "/gradio_api/startup-events", "/gradio_api/theme.css"),
        *("/gradio_api/queue/data", "/gradio_api/upload_progress", "/gradio_api/login_check"),
    ),
    "POST": (UPLOAD, JOIN, RUN, "/gradio_api/cancel", "/gradio_api/reset"),
}
ADDRESSES["HEAD"] = ADDRESSES["GET"]
FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/", FILE)  # of these, all that is in them


class TooLongError(ValueError):
    """A recording or its transcription takes longer than the page allows."""


class Deadline(StoppingCriteria):
    """Ends a transcription that takes too long: `generate` asks it after each token."""

    def __init__(self, minutes: float):
        self.minutes, self.end = minutes, time.monotonic() + 60 * minutes

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs) -> torch.BoolTensor:
        if time.monotonic() > self.end:
            raise TooLongError(f"The transcription took more than {self.minutes:g} minutes and was ended.")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]


def check_length(path: str | Path, minutes: float = MAX_MINUTES) -> None:
    """Refuses a recording that is too long, by reading it: a header may say anything, and a small file may unfold.

    Raises:
        TooLongError: it has more samples than so many minutes of stereo have.
        ValueError: it is not readable audio.
    """
    try:
        with without_notes_of_mpg123(), soundfile.SoundFile(path) as file:
            samples, most = 0, 60 * minutes * min(file.channels * file.samplerate, _SAMPLES_PER_SECOND)
            while samples <= most and len(block := file.read(_BLOCK // file.channels, dtype="int16", always_2d=True)):
                samples += block.size
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", "it cannot be opened")
        raise ValueError(f"The recording is not readable audio ({reason}).") from None
    if samples > most:
        raise TooLongError(
            f"The recording is longer than {minutes:g} minutes. Cut it, or use distilwhisper transcribe."
        )


class Guard:
    """An ASGI app before Gradio's: it answers what visitors may not ask for, and passes on the rest.

    Args:
        app: Gradio's.
        folder: where Gradio keeps the files of visitors.
    """

    def __init__(self, app, folder: str | Path):
        self.app, self.folder = app, Path(folder)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _close(send))
            return
        path, is_upload = scope["path"], scope["path"].rstrip("/") == UPLOAD
        if not _exists(scope["method"], path):
            return await _answer(send, 404, "There is no such address.")
        if path.startswith(FILE) and "://" in path:
            return await _answer(send, 403, "Files of other servers are not fetched.")
        if is_upload and self._kept() > MAX_FOLDER:
            return await _answer(send, 503, "Too many recordings were uploaded. Try again in half an hour.")
        body = _Body(receive, MAX_UPLOAD + MAX_REQUEST if is_upload else MAX_REQUEST)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > body.most:
            return await _answer(send, 413, f"A request may have {body.most} bytes.")
        if path.rstrip("/") in (JOIN, RUN):
            content = await body.complete()
            if content is None:
                return await _answer(send, 413, f"A request may have {body.most} bytes.")
            if not _is_plain(content):
                return await _answer(send, 400, "Expected JSON, and recordings that were uploaded here.")
        await self.app(scope, body.receive, send)

    def _kept(self) -> int:
        sizes = 0
        for path in self.folder.rglob("*"):
            try:
                sizes += path.stat().st_size if path.is_file() else 0
            except OSError:  # deleted meanwhile
                continue
        return sizes


class _Body:
    """The body of a request. After more than `most` bytes, the visitor counts as gone."""

    def __init__(self, receive: Receive, most: int):
        self._receive, self.most, self._read = receive, most, 0
        self._ready: list[Message] = []

    async def receive(self) -> Message:
        if self._ready:
            return self._ready.pop(0)
        message = await self._receive()
        self._read += len(message.get("body", b""))
        return message if self._read <= self.most else {"type": "http.disconnect"}

    async def complete(self) -> bytes | None:
        """All of the body, which `receive` gives once more; `None` if it is too long."""
        content, more = b"", True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                return None
            content += message.get("body", b"")
            more = message.get("more_body", False)
        self._ready = [{"type": "http.request", "body": content, "more_body": False}]
        return content


def _exists(method: str, path: str) -> bool:
    addresses = ADDRESSES.get(method, ())
    in_folder = method in ("GET", "HEAD") and path.startswith(FOLDERS)
    return in_folder or path in addresses or path.rstrip("/") in addresses


def _is_plain(content: bytes) -> bool:
    """Whether JSON names no file on another server, which Gradio would fetch."""
    try:
        values = [json.loads(content)]
    except (ValueError, RecursionError):
        return False
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):
                return False
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
    return True


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def _close(send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008})
