"""Ray Serve: started here for one machine, or asked for where a cluster of several machines runs."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ApiError
from .items import Item, Outcome
from .recogniser import Call

APP = "distilwhisper"  # the name of the application on Ray Serve
ERROR = re.compile(r"\w[\w.]*(Error|Exception): ")  # the last line of a traceback
OBJECT_STORE = 512 * 2**20  # bytes, for windows on their way to replicas: 2 MB each


@contextmanager
def started_replicas(
    engine: dict[str, Any], *, batch_size: int, replicas: int, threads: int, device: str, address: str | None
) -> Iterator[Any]:
    """The handle of the replicas, which end with it.

    Args:
        engine: the arguments of `Engine`.
        batch_size: the most windows in a batch of a replica.
        replicas: number of processes with the model.
        threads: of each.
        device: where the models run. A replica on "cuda" has a GPU of its own.
        address: of a cluster that is running; `None`: Ray is started here.

    Raises:
        ValueError: the model cannot be loaded there.
    """
    import ray
    from ray import serve

    from .replica import deployment

    here: dict[str, Any] = {
        "num_cpus": threads * replicas,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
    }
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(_is_not_of_ray)
    gpus = int(device.startswith("cuda"))
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **({} if address else here))
        serve.start(proxy_location="Disabled")
        application = deployment(engine, batch_size=batch_size, replicas=replicas, threads=threads, gpus=gpus)
        try:
            handle = serve.run(application, name=APP, route_prefix=None)
        except RuntimeError:
            states = serve.status().applications[APP].deployments.values()
            lines = [line for state in states for line in state.message.splitlines() if ERROR.match(line)]
            reason = lines[-1] if lines else "Ray's log says why"
            raise ValueError(f"No replica could load the model: {reason}") from None
        yield handle
    finally:
        if ray.is_initialized():
            if address:  # a cluster goes on
                serve.delete(APP)
            ray.shutdown()


def _is_not_of_ray(record: logging.LogRecord) -> bool:
    """Leaves out tracebacks of questions that Ray Serve itself asked a replica which has ended: `call_of` says it."""
    from ray.exceptions import ActorUnavailableError, RayActorError

    return not (record.exc_info and isinstance(record.exc_info[1], RayActorError | ActorUnavailableError))


async def is_running() -> bool:
    """Whether the replicas can take requests."""
    from ray import serve

    application = (await asyncio.to_thread(serve.status)).applications.get(APP)
    return application is not None and application.status == "RUNNING"


def call_of(handle: Any, log: Callable[[str], None]) -> Call:
    """Gives windows to the replicas of a handle. An item that is no longer wanted leaves its batch."""
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
            log(f"A replica failed: {error}")
            raise ApiError(500, "A replica failed. The server's log says why.", "internal_error") from None
        except (RayError, RayServeException) as error:
            log(f"A replica ended: {type(error).__name__}")
            message = "The replica that had this request ended. Try again."
            raise ApiError(503, message, "replica_ended", retry_after=2) from None

    return call
