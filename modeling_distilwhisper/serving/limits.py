"""What a client may ask for: bytes, seconds to send them, a place in the queue, and memory for decoded audio."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from .errors import ApiError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MIB = 2**20
DRAINED = MIB  # bytes of a refused request that are still read: a client that is still sending misses the answer
DRAIN_SECONDS = 1


class Body:
    """The body of a request. A client that sends more than `most` bytes, or takes too long, counts as gone.

    Args:
        receive: of ASGI.
        most: bytes.
        seconds: for all of it; `None`: as long as it takes.

    Attributes:
        is_too_long: whether the client sent more.
        is_too_slow: whether it took longer.
    """

    def __init__(self, receive: Receive, most: int, seconds: float | None = None):
        self._receive, self.most, self.seconds = receive, most, seconds
        self._end = None if seconds is None else time.monotonic() + seconds
        self._read, self._is_complete = 0, False
        self.is_too_long = self.is_too_slow = False

    async def receive(self) -> Message:
        """The next message of ASGI."""
        if self.is_too_long or self.is_too_slow:
            return {"type": "http.disconnect"}
        remaining = None if self._end is None or self._is_complete else max(0.0, self._end - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), remaining)
        except (asyncio.TimeoutError, TimeoutError):  # of Python 3.10, and of later ones
            self.is_too_slow = True
            return {"type": "http.disconnect"}
        self._read += len(message.get("body", b""))
        self._is_complete |= message["type"] == "http.request" and not message.get("more_body", False)
        self.is_too_long = self._read > self.most
        return {"type": "http.disconnect"} if self.is_too_long else message

    async def gone(self) -> None:
        """Returns when the client hangs up."""
        while (await self.receive())["type"] != "http.disconnect":
            continue

    async def drain(self) -> None:
        """Reads what a refused client has sent, within bounds."""
        read, end = 0, time.monotonic() + DRAIN_SECONDS
        try:
            while not self._is_complete and read < DRAINED:
                message = await asyncio.wait_for(self._receive(), max(0.0, end - time.monotonic()))
                read += len(message.get("body", b""))
                self._is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        except (asyncio.TimeoutError, TimeoutError):
            return

    def check_length(self, header: str | None) -> None:
        """Refuses a request whose header says that it is too long.

        Raises:
            ApiError: it is.
        """
        if header is not None and not header.isdecimal():
            raise ApiError(400, "Content-Length is no number.", "invalid_request")
        if header is not None and (len(header) > 18 or int(header) > self.most):
            raise self.error()

    def error(self) -> ApiError:
        """Why the body is not read to its end."""
        if self.is_too_slow:
            text = f"The request took longer than {self.seconds:g} s to arrive. Send a smaller file (flac, opus)."
            return ApiError(408, text, "upload_timeout")
        text = f"A request may have {self.most / MIB:.0f} MiB. Compress the recording (flac, opus), or cut it."
        return ApiError(413, text, "file_too_large", param="file")


class Places:
    """Requests that the server has taken on. Beyond `most`, others are refused until one ends.

    Args:
        most: number of places.
    """

    def __init__(self, most: int):
        self.most, self.taken = most, 0
        self._seconds = 1.0  # that a request takes, lately

    @contextmanager
    def one(self) -> Iterator[None]:
        """Takes a place, and frees it at the end.

        Raises:
            ApiError: all are taken.
        """
        if self.taken >= self.most:
            wait = min(60, max(1, math.ceil(self._seconds)))
            text = f"The server has {self.most} requests already. Try again in {wait} s."
            raise ApiError(429, text, "rate_limit_exceeded", retry_after=wait)
        self.taken += 1
        begun = time.monotonic()
        try:
            yield
        finally:
            self.taken -= 1
            self._seconds += 0.1 * (time.monotonic() - begun - self._seconds)


class AudioMemory:
    """Memory for decoded recordings: one more has to wait until there is room.

    Args:
        most: samples of all recordings together. A longer recording gets its turn alone.
    """

    def __init__(self, most: int):
        self.most, self.used = most, 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, samples: int):
        """Keeps memory for a recording within it."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.used or self.used + samples <= self.most)
            self.used += samples
        try:
            yield
        finally:
            self.used -= samples
            async with self._changed:
                self._changed.notify_all()
