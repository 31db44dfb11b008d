"""A replica on Ray Serve: a process with the model, which puts the windows of all requests together into batches."""

import asyncio
from typing import Any

import torch
from ray import serve

from .engine import Engine
from .items import Description, Item, Outcome

WAIT = 0.02  # seconds that a window waits for others, where the model has nothing else to do


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
        batched: Any = self._run
        batched.set_max_batch_size(batch_size)

    async def describe(self) -> Description:
        """What the server has to know of the model. It answers while a batch is running."""
        return self.engine.describe()

    async def transcribe(self, item: Item) -> Outcome:
        """The outcome of a window. A caller who is gone takes no place in a batch."""
        await asyncio.to_thread(self.engine.fetch, item.language)
        return await self._run(item)

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=WAIT)
    async def _run(self, items: list[Item]) -> list[Outcome]:
        return await asyncio.to_thread(self.engine.run, items)


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
