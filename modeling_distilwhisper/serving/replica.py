"""A replica on Ray Serve: a process with the model, which puts the windows of all requests together into batches."""

import asyncio
from typing import Any

import torch
from ray import serve

from .engine import Engine
from .gathering import Gathering
from .items import Description, Item, Outcome

WAIT = 0.02  # seconds that a window waits for others


@serve.deployment
class Replica:
    """The deployment.

    Args:
        engine: the arguments of `Engine`.
        batch_size: the most windows in a batch.
        threads: of the processor that the model uses.
    """

    def __init__(self, engine: dict[str, Any], batch_size: int, threads: int):
        torch.set_num_threads(threads)
        self.engine = Engine(**engine)
        self.gathering = Gathering(self.engine.run, batch_size, WAIT)

    async def describe(self) -> Description:
        """What the server has to know of the model. It answers while a batch is running."""
        return self.engine.describe()

    async def transcribe(self, item: Item) -> Outcome:
        """The outcome of a window. A caller who is gone takes no place in a batch."""
        await asyncio.to_thread(self.engine.fetch, item.language)
        return await asyncio.wrap_future(self.gathering.submit(item))


def deployment(engine: dict[str, Any], *, batch_size: int, replicas: int, threads: int, gpus: int) -> serve.Application:
    """The application that `serve.run` starts.

    Args:
        engine: the arguments of `Engine`.
        batch_size: the most windows in a batch of a replica.
        replicas: number of processes with the model.
        threads: of each.
        gpus: of each.
    """
    options: dict[str, Any] = {
        "num_replicas": replicas,
        "max_constructor_retry_count": 1,  # a model that cannot be loaded cannot be loaded again
        "max_ongoing_requests": 4 * batch_size,  # a batch that runs, and the next ones
        "ray_actor_options": {"num_cpus": threads, "num_gpus": gpus},
    }
    kind: Any = Replica  # which the decorator makes a deployment
    return kind.options(**options).bind(engine, batch_size, threads)
