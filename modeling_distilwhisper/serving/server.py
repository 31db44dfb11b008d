"""Starts Ray Serve with the replicas, and the HTTP server before them.

The HTTP server is not Ray Serve's: that one takes in a request's body as fast as the client sends it, before any code of
ours can refuse it, and answers a crashed replica in its own words. The replicas, their batches and their restarts are
Ray Serve's, on one machine or on several.
"""

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..repository_distilwhisper import languages_in
from ..runs.any_whisper import load_processor
from .api import Api, Limits
from .http import answer_requests, listen
from .metrics import Metrics
from .recogniser import Call, Recogniser
from .errors import ApiError
from .items import Item, Outcome

KEY = "DISTILWHISPER_API_KEY"  # the environment variable
OBJECT_STORE = 512 * 2**20  # bytes, for windows on their way to replicas: 2 MB each
# Ray's own ports cannot be bound to one address. With a secret of this run, nobody else is answered there.
FOR_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_SERVE_LOG_TO_STDERR": "0"}


@dataclass(frozen=True)
class ServerSettings:
    """What a server is started with.

    Attributes:
        model: folder or Hub id.
        name: of the model, as clients write it.
        experts: folders and Hub ids of more experts.
        expert_memory: MB that loaded experts may take in a replica.
        host: the address of this machine where it listens.
        port: likewise.
        device: of the replicas.
        precision: of the model.
        batch_size: the most windows in a batch.
        replicas: processes with the model.
        threads: of each.
        max_minutes: the longest recording.
        limits: what a client may ask for.
        key: that clients have to send; `None`: none.
        ray_address: of a cluster that is running already; `None`: Ray is started here.
    """

    model: str
    name: str
    experts: tuple[str, ...]
    expert_memory: float
    host: str
    port: int
    device: str
    precision: str
    batch_size: int
    replicas: int
    threads: int
    max_minutes: float
    limits: Limits
    key: str | None
    ray_address: str | None


def read_key(file: Path | None) -> str | None:
    """The key that clients have to send: from a file, or else from the environment, where no other process finds it then.

    Raises:
        ValueError: the file is empty, or it has more than one line.
        OSError: it cannot be read.
    """
    given = os.environ.pop(KEY, None)
    if file is None:
        return given or None
    key = file.read_text(encoding="utf-8").strip()
    if not key or len(key.split()) > 1:
        raise ValueError(f"{file}: expected a key, one word on one line.")
    return key


def run_server(settings: ServerSettings) -> None:
    """Serves until the process is told to stop.

    Raises:
        ValueError: the address cannot be had, or the model cannot be loaded.
        OSError: there is no such model.
    """
    model, *experts = (_complete(location) for location in (settings.model, *settings.experts))
    load_processor(model)  # what is wrong with a name is said here, before minutes of starting
    for location in experts:
        if not languages_in(location):
            raise ValueError(f"{location} has no experts. Expected a folder or Hub id with expert.<language>.safetensors.")
    engine = {"model": model, "experts": experts, "expert_memory": int(settings.expert_memory * 1e6)}
    engine |= {"precision": settings.precision, "device": settings.device}
    with listen(settings.host, settings.port) as listening, _replicas(engine, settings) as handle:
        from ray import serve

        from .replica import APP

        async def is_ready() -> bool:
            application = (await asyncio.to_thread(serve.status)).applications.get(APP)
            return application is not None and application.status == "RUNNING"

        recogniser = Recogniser(
            _call(handle),
            handle.describe.remote().result(),
            at_once=settings.batch_size * settings.replicas,
            minutes=settings.max_minutes,
            metrics=Metrics(),
            log=_log,
        )
        api = Api(recogniser, settings.name, settings.limits, settings.key, is_ready)
        experts_of = ", ".join(recogniser.description.experts) or "no language"
        _log(f"Serving {settings.name}, with experts of {experts_of}, at http://{settings.host}:{settings.port}/v1")
        answer_requests(api.app(), listening)


@contextmanager
def _replicas(engine: dict[str, Any], settings: ServerSettings) -> Iterator[Any]:
    """The replicas' handle. They end with it."""
    if settings.ray_address is None:
        os.environ.update(FOR_RAY, RAY_AUTH_TOKEN=secrets.token_hex(32))  # read when Ray is imported
    import ray
    from ray import serve

    from .replica import APP, deployment

    local: dict[str, Any] = {
        "num_cpus": settings.threads * settings.replicas,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
    }
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    gpus = int(settings.device.startswith("cuda"))
    try:
        ray.init(
            settings.ray_address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(local if settings.ray_address is None else {}),
        )
        serve.start(proxy_location="Disabled")
        application = deployment(
            engine, batch_size=settings.batch_size, replicas=settings.replicas, threads=settings.threads, gpus=gpus
        )
        try:
            handle = serve.run(application, name=APP, route_prefix=None)
        except RuntimeError as error:
            lines = str(error).strip().splitlines()
            raise ValueError(f"No replica could load the model: {lines[-1] if lines else error}") from None
        yield handle
    finally:
        if ray.is_initialized():
            serve.delete(APP) if settings.ray_address else serve.shutdown()
            ray.shutdown()


def _call(handle) -> Call:
    from ray.exceptions import RayError, RayTaskError
    from ray.serve.exceptions import RayServeException

    async def call(item: Item) -> Outcome:
        response = handle.transcribe.remote(item)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except RayTaskError as error:
            _log(f"A replica failed: {error}")
            raise ApiError(500, "A replica failed. The server's log says why.", "internal_error") from None
        except (RayError, RayServeException) as error:
            _log(f"A replica ended: {type(error).__name__}")
            message = "The replica that had this request ended. Try again."
            raise ApiError(503, message, "replica_ended", retry_after=2) from None

    return call


def _complete(location: str) -> str:
    """A folder's complete path: replicas start elsewhere."""
    return str(Path(location).resolve()) if Path(location).is_dir() else location


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
