"""Progress bars in the processes of the tests."""

import threading

from tqdm import tqdm


def own_lock_of_bars() -> None:
    """Gives the bars of this process a lock of its own.

    tqdm's is shared by a process and all that are forked from it: one that is killed while it holds the lock stops all
    others for good. A subclass may hold a lock beside that of its base.
    """
    lock, classes = threading.RLock(), [tqdm]
    while classes:
        kind = classes.pop()
        kind.set_lock(lock)
        classes += kind.__subclasses__()
