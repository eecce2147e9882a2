"""The processes that encode.

They are started afresh when one dies, so that a clip that crashes a decoder costs only itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from pave.errors import ConfigError

T = TypeVar("T")

GUARD = (
    'a script that calls extract must do so under `if __name__ == "__main__":`, '
    "because each worker imports the script"
)


class Workers:
    """A pool of processes that outlives its members.

    Args:
        count: How many.

    Raises:
        ConfigError: If new processes end before they do anything, as in a script without a main
            guard.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = self._start()
        try:
            # Work that cannot fail of itself.
            self._pool.submit(int).result()
        except BrokenProcessPool as error:
            raise ConfigError(
                f"the workers ended as they began: {GUARD}; elsewhere give fewer workers, or one"
            ) from error

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run something; the future raises `BrokenProcessPool` if a process has died meanwhile."""
        try:
            return self._pool.submit(work, *arguments)
        except BrokenProcessPool as error:
            # A pool that is broken already says so in another way than one that breaks now.
            future: Future[T] = Future()
            future.set_exception(error)
            return future

    def restart(self) -> None:
        """New processes, after one has died."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()

    def stop(self) -> None:
        """End all after what is at hand, without beginning what is still waiting."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        # Forking a process whose libraries run threads can hang.
        context = multiprocessing.get_context("spawn")
        # Otherwise every worker starts a thread for each processor.
        threads = max(1, (os.cpu_count() or 1) // self.count)
        return ProcessPoolExecutor(
            self.count, mp_context=context, initializer=_begin, initargs=(threads,)
        )


def must_not_be_starting() -> None:
    """Refuse to work while a new worker imports its parent's script.

    It would start workers of its own, which import the script, and so on.

    Raises:
        ConfigError: If that is the case.
    """
    # As multiprocessing itself asks.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(GUARD)


def _begin(threads: int) -> None:
    """In a new worker: leave Ctrl-C to the parent, end with it, share the processors."""
    import torch

    # A terminal sends Ctrl-C to all processes at once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # `sys.exit` would end this thread alone.
        os._exit(1)
