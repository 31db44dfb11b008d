"""The HTTP server: bounds on the head of a request, and a stop that lets requests finish."""

import asyncio
import signal
import socket
from contextlib import suppress

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD = 32 * 1024  # bytes of the first line and the headers
PART = 8 * 1024  # bytes that are read at a time
HEAD_SECONDS = 20  # in which they have to arrive
STOP_SECONDS = 600  # that requests have to finish when the server is stopped


class Protocol(H11Protocol):
    """Uvicorn's, which hangs up if the head of a request does not arrive. Uvicorn bounds only the time between two.

    It reads little at a time: a head that comes complete with one read has no bound in uvicorn.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PART):
            if self.conn.their_state is h11.DONE:
                # What follows a request that is not answered yet would gather without a bound.
                self.cycle.keep_alive = False
                return
            super().data_received(data[start : start + PART])
            if self.transport.is_closing():
                return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_watch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._end_watch()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end_watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens: taken before the model is loaded, since another program may have the port.

    Raises:
        ValueError: the address cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ValueError(f"The server cannot listen at {host}, port {port} ({error}). Give another --port.") from None


def answer_requests(app, listening: socket.socket) -> None:
    """Answers requests until the process is told to stop (SIGTERM, Ctrl+C). Those that are under way are finished."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray has put its own there, which ends the process
    with suppress(KeyboardInterrupt):  # uvicorn sends itself the signal again, after it has stopped
        uvicorn.Server(config).run(sockets=[listening])
