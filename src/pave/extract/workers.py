"""The processes that encode: started afresh when one dies, so that one clip that crashes a decoder costs only itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from pave.errors import ConfigError
from pave.extract.config import ExtractConfig
from pave.extract.report import Outcome
from pave.extract.work import Encoding, Job, encode_unit

Work = Callable[[Sequence[Job]], list[Outcome]]
GUARD = 'a script that calls extract must do so under `if __name__ == "__main__":`, because each worker imports the script'


class Workers:
    """Runs units in `workers` processes; with one, in a thread of this process.

    Args:
        config: What the processes encode.
        encoding: What this process encodes with, for one worker.

    Raises:
        ConfigError: If new processes end before they do anything, as in a script without a main
            guard.
    """

    def __init__(self, config: ExtractConfig, encoding: Encoding | None) -> None:
        self.count = config.workers
        self._encoding, self._stopped = encoding, threading.Event()
        self._work: Work = (
            self._here if encoding is not None else partial(encode_unit, config.model_dump_json())
        )
        self._pool = self._start()
        try:
            self._pool.submit(int).result()
        except BrokenProcessPool as error:
            raise ConfigError(
                f"the workers ended as they began: {GUARD}; elsewhere give fewer workers, or one"
            ) from error

    def submit(self, jobs: Sequence[Job]) -> Future[list[Outcome]]:
        """Run some jobs; the future raises `BrokenProcessPool` if a process died meanwhile."""
        return self._pool.submit(self._work, jobs)

    def restart(self) -> None:
        """New processes, after one has died."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()

    def stop(self) -> None:
        """End all after the clip (in other processes: the unit) at hand, without beginning what is still waiting."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _here(self, jobs: Sequence[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for outcome in self._encoding(jobs) if self._encoding is not None else ():
            outcomes.append(outcome)
            if self._stopped.is_set():
                break
        return outcomes

    def _start(self) -> Executor:
        if self._encoding is not None:
            return ThreadPoolExecutor(1, thread_name_prefix="pave-extract")
        context = multiprocessing.get_context(
            "spawn"
        )  # forking a process whose libraries run threads can hang
        threads = max(1, (os.cpu_count() or 1) // self.count)
        return ProcessPoolExecutor(
            self.count, mp_context=context, initializer=_begin, initargs=(threads,)
        )


def must_not_be_starting() -> None:
    """Refuse to work while a new worker imports its parent's script: it would wait for its own parent.

    Raises:
        ConfigError: If that is the case.
    """
    if getattr(
        multiprocessing.current_process(), "_inheriting", False
    ):  # as multiprocessing itself asks
        raise ConfigError(GUARD)


def _begin(threads: int) -> None:
    """In a new worker: leave Ctrl-C to the parent, end with it, share the processors."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
