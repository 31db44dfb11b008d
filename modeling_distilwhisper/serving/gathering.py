"""One call for many: what arrives while a function works goes together into its next call."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gathering(Generic[Item, Result]):
    """Calls a function, in a thread of its own, with the items that have gathered.

    Batches of Ray Serve are closed a fixed time after their first item, and wait from then on for the model: under load
    they stay small. This one takes what is there when the model is free.

    Args:
        call: from items to their results, in the same order.
        most: items in a call.
        wait: seconds that an item waits for others where the function has nothing to do. Those whose answer has just
            come ask again within them.
    """

    def __init__(self, call: Callable[[list[Item]], list[Result]], most: int, wait: float):
        self.call, self.most, self.wait = call, most, wait
        self._items: list[tuple[Item, Future[Result]]] = []
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, "gathering")

    def submit(self, item: Item) -> "Future[Result]":
        """The result of an item. One that is cancelled before its call takes no place in it."""
        future: Future[Result] = Future()
        with self._lock:
            self._items.append((item, future))
        self._thread.submit(self._next)
        return future

    def _next(self) -> None:
        """There is one for each item: those whose item went with another's find nothing to do."""
        with self._lock:
            count = len(self._items)
        if 0 < count < self.most:
            time.sleep(self.wait)
        taken: list[tuple[Item, Future[Result]]] = []
        with self._lock:
            while self._items and len(taken) < self.most:
                item, future = self._items.pop(0)
                if future.set_running_or_notify_cancel():
                    taken.append((item, future))
        if not taken:
            return
        try:
            results = list(zip(taken, self.call([item for item, _ in taken]), strict=True))
        except BaseException as error:  # else whoever waits would wait for ever
            for _, future in taken:
                future.set_exception(error)
            return
        for (_, future), result in results:
            future.set_result(result)
