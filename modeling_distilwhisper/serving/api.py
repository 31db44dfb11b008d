"""The routes of OpenAI's audio API, and those for the people who run the server."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..data.mono import SAMPLING_RATE
from ..transcription.segments import Transcript
from .errors import FAILED, ApiError, answer_error
from .forms import MAX_FIELD, MAX_FIELDS, Fields, answer, event, read_fields, read_language
from .limits import MIB, AudioMemory, Body, Places
from .recogniser import Recogniser, joined

GONE = 499  # the status in the metrics of a client that hung up
AUDIO_HOURS = 4  # of decoded recordings in memory: a gigabyte
TASKS = {"transcriptions": "transcribe", "translations": "translate"}  # by the last part of the address

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
        upload: MiB of a request.
        upload_seconds: in which it has to arrive.
        requests: that are taken on at a time.
    """

    upload: float
    upload_seconds: float
    requests: int


class Count:
    """What the metrics say of a request."""

    def __init__(self) -> None:
        self.begun, self.language, self.audio = time.monotonic(), "", 0.0


class Api:
    """The server's app.

    Args:
        recogniser: transcribes.
        name: of the model, as clients write it.
        limits: what they may ask for.
        key: that they have to send; `None`: none.
        is_ready: whether a replica can take a request.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        name: str,
        limits: Limits,
        key: str | None,
        is_ready: Callable[[], Awaitable[bool]],
    ):
        self.recogniser, self.name, self.limits, self.key, self.is_ready = recogniser, name, limits, key, is_ready
        self.metrics, self.description = recogniser.metrics, recogniser.description
        self.places = Places(limits.requests)
        self.metrics.places.set_function(lambda: self.places.taken)
        self.memory = AudioMemory(AUDIO_HOURS * 3600 * SAMPLING_RATE)
        self.created = int(time.time())
        # By the name that a client gives: the language whose experts it asks for by it.
        self.models: dict[str, str | None] = {name: None}
        self.models |= {f"{name}:{code}": code for code in self.description.experts}

    def app(self) -> Starlette:
        """The app, for a server of ASGI."""
        routes = [
            *(Route(f"/v1/audio/{address}", self.audio, methods=["POST"]) for address in TASKS),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{model:path}", self.show_model),
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.show_metrics),
        ]
        handlers: Any = {ApiError: answer_error, HTTPException: answer_error, Exception: answer_error}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        if not await self.is_ready():
            raise ApiError(503, "No replica is ready.", "not_ready", retry_after=1)
        return JSONResponse({"status": "ready"})

    async def show_metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def list_models(self, request: Request) -> Response:
        self._check_key(request)
        return JSONResponse({"object": "list", "data": [self._card(model) for model in self.models]})

    async def show_model(self, request: Request) -> Response:
        self._check_key(request)
        model = request.path_params["model"]
        self._check_model(model)
        return JSONResponse(self._card(model))

    async def audio(self, request: Request) -> Response:
        """Transcribes or translates the recording of a request."""
        endpoint, count = request.url.path, Count()
        body = Body(request.receive, int(self.limits.upload * MIB), self.limits.upload_seconds)
        try:
            response = await self._audio(request, body, count)
        except ClientDisconnect:
            self._count(endpoint, GONE, count)
            return Response(status_code=GONE)
        except ApiError as error:
            await body.drain()
            response = error.response()
            response.headers["connection"] = "close"  # there may be more of the request on the way
        except Exception:
            self._count(endpoint, 500, count)
            raise
        if not isinstance(response, _Events):
            self._count(endpoint, response.status_code, count)
        return response

    async def _audio(self, request: Request, body: Body, count: Count) -> Response:
        self._check_key(request)
        body.check_length(request.headers.get("content-length"))
        task = TASKS[request.url.path.rpartition("/")[2]]
        async with AsyncExitStack() as stack:
            stack.enter_context(self.places.one())
            form = await self._read_form(request, body)
            stack.push_async_callback(form.close)
            file, fields = read_fields(form)
            count.language = language = self._language(fields) or ""

            async def work() -> Response:
                samples = await self.recogniser.decode(file.file)
                await stack.enter_async_context(self.memory.hold(len(samples)))
                asked = (samples, language or None, fields.settings(task))
                seconds = len(samples) / SAMPLING_RATE
                if fields.stream:
                    return _Events(self._events(request.url.path, asked, seconds, count), stack.pop_all())
                transcript = await self.recogniser.complete(*asked)
                count.language, count.audio = self._known(transcript.language), seconds
                return answer(transcript, fields, task)

            return await _unless_gone(work(), body)

    async def _events(self, endpoint: str, asked: tuple, seconds: float, count: Count) -> AsyncIterator[str]:
        windows: list[Transcript] = []
        status = GONE
        try:
            async with aclosing(self.recogniser.transcribe(*asked)) as parts:
                async for part in parts:
                    text = f" {part.text}" if any(window.text for window in windows) else part.text
                    windows.append(part)
                    if part.text:
                        yield event({"type": "transcript.text.delta", "delta": text})
            transcript = joined(windows, seconds, asked[1])
            count.language, count.audio, status = self._known(transcript.language), seconds, 200
            yield event({"type": "transcript.text.done", "text": transcript.text})
        except ApiError as error:
            status = error.status
            yield event(error.content())
        except Exception:
            status = 500
            yield event(ApiError(500, FAILED, "internal_error").content())
            raise
        finally:
            self._count(endpoint, status, count)

    async def _read_form(self, request: Request, body: Body):
        try:
            return await Request(request.scope, body.receive).form(
                max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD
            )
        except ClientDisconnect:
            if body.is_too_long or body.is_too_slow:
                raise body.error() from None
            raise
        except HTTPException as error:
            raise ApiError(400, f"The form cannot be read: {error.detail}", "invalid_request") from None

    def _language(self, fields: Fields) -> str | None:
        self._check_model(fields.model)
        language = read_language(fields.language, self.description.languages)
        of_model = self.models[fields.model]
        if language and of_model and language != of_model:
            message = f"{fields.model} has the experts of {of_model!r}, and the language is {language!r}. Expected one."
            raise ApiError(400, message, "invalid_value", param="language")
        return of_model or language

    def _check_key(self, request: Request) -> None:
        if self.key is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        # In constant time: the time must not tell how many letters are right.
        if not hmac.compare_digest(given.strip().encode("latin-1"), self.key.encode()) or kind.lower() != "bearer":
            raise ApiError(401, "Expected the server's key: Authorization: Bearer KEY.", "invalid_api_key")

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            known = ", ".join(self.models)
            message = f"There is no model {model[:200]!r}. Expected one of: {known}."
            raise ApiError(404, message, "model_not_found", param="model")

    def _card(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": self.created, "owned_by": "distilwhisper"}

    def _known(self, language: str) -> str:
        return language if language in self.description.languages else ""

    def _count(self, endpoint: str, status: int, count: Count) -> None:
        self.metrics.add_request(endpoint, status, count.language, time.monotonic() - count.begun, count.audio)


class _Events(StreamingResponse):
    """A stream of events. What the request holds is freed at its end, also if the client hangs up before its start."""

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack):
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self.events, self.held = events, held

    async def __call__(self, scope, receive, send) -> None:
        async with self.held, aclosing(self.events):  # type: ignore[type-var]
            await super().__call__(scope, receive, send)


async def _unless_gone(work: Coroutine[Any, Any, Result], body: Body) -> Result:
    """The result of some work, which ends if the client hangs up.

    Raises:
        ClientDisconnect: it did.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(body.gone())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
