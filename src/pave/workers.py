"""`Workers`: processes beside this one that may die of what they are given.

Media are read by native code, and some files end the process that reads them: a crash in a decoder,
memory that the system takes back, a loop without end. Where many clips are read, a worker reads
them, and the one that ends it is known and named; the next clip gets a new worker.

A worker is this Python with this `sys.path`. It does not import the script that is running, so that
scripts need no `if __name__ == "__main__":`, and knows only what packages bring.

`concurrent.futures` starts processes as well, but a pool that lost one cannot say over which work,
never ends one that hangs, and imports the script.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from pave.errors import ConfigError, MediaError, PaveError

Answer = Callable[..., Any]
"""What a worker may ask its parent while it works: called with what `ask_parent` was given."""

_KEPT_IDLE = 2
"""Workers that wait for the next call: to start one takes seconds, of which it keeps 0.3 GB."""


class WorkerDiedError(MediaError):
    """The process that read some media has ended, or was ended because it did not get on."""


class Workers:
    """As many processes as threads call at a time.

    Args:
        threads: Threads that each may compute with.
        device: Where they compute.
        seconds: How long a call may take without a sign of life.

    Example:
        >>> with Workers(threads=1, device="cpu", seconds=600) as workers:  # doctest: +SKIP
        ...     workers.call("concert.mp4", read_frames, "concert.mp4", Uniform(4))
    """

    def __init__(self, *, threads: int, device: str, seconds: int) -> None:
        self.threads, self.device, self.seconds = threads, device, seconds
        self._free: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the workers wait for the next of us, without what they have loaded."""
        for worker in self._free:
            _put_by(worker)
        self._free.clear()

    def call(
        self, about: str, work: Callable[..., Any], *arguments: Any, answer: Answer | None = None
    ) -> Any:
        """What a function of a package returns or raises in a worker.

        Args:
            about: The media that it reads, for the message if it dies.
            work: The function, found by its name there.
            *arguments: What it takes; anything that pickles.
            answer: Answers what it asks with `ask_parent`.

        Raises:
            WorkerDiedError: If the worker did.
            ConfigError: If none can be started.
        """
        worker = self._take()
        try:
            result = worker.call(work, arguments, answer, self.seconds)
        except _EndedError as ended:
            raise WorkerDiedError(f"{about}: the process that read it {ended}") from None
        finally:
            # Not one that was left in the middle, by Ctrl-C for example.
            if worker.ready:
                self._free.append(worker)
            else:
                worker.stop()
        return result

    def _take(self) -> _Worker:
        """One that is free, or waits, or is new."""
        # `pop` alone is safe where several threads come at once.
        with suppress(IndexError):
            while not (worker := self._free.pop()).alive:  # the system took one that was idle
                worker.stop()
            return worker
        worker = _waiting() or _Worker()
        try:
            # All of it anew for each of us: a worker may have waited while this process moved on.
            place = (os.getcwd(), dict(os.environ), sys.path)
            worker.call(_begin, (*place, self.device, self.threads), None, self.seconds)
        except _EndedError as ended:
            raise ConfigError(
                f"a process that reads media {ended} at its start; set workers to 0 to read "
                "media in this process"
            ) from None
        return worker


class _EndedError(Exception):
    """A worker has ended; its text says how, after "the process"."""


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        # The path first: pave itself may lie on it.
        start = f"import sys; sys.path[:] = {sys.path!r}; import pave.workers as w; "
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{start}w.serve({theirs.fileno()})"],
                # Held open by us alone: its end tells the worker of ours.
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                # A terminal sends Ctrl-C to a whole group; it is for us.
                process_group=0,
            )
        self.parent = os.getpid()
        self.ready = True

    def call(
        self,
        work: Callable[..., Any],
        arguments: tuple[Any, ...],
        answer: Answer | None,
        seconds: int,
    ) -> Any:
        """Hand work over, and wait for what comes of it."""
        self.ready = False
        try:
            self._pipe.send_bytes(pickle.dumps((work, arguments), protocol=5))
            while True:
                if not self._pipe.poll(seconds):
                    raise _EndedError(
                        f"was ended because it made no progress for {seconds:,} s "
                        "(PAVE_MAX_CLIP_SECONDS allows more)"
                    )
                # "done", "raised", or "asks", and then it waits for our answer.
                kind, value = pickle.loads(self._pipe.recv_bytes())
                if kind != "asks":
                    break
                self._pipe.send_bytes(_attempt(_answered(answer), value))
        except (EOFError, OSError):
            raise _EndedError(self._how()) from None
        self.ready = True
        if kind == "raised":
            raise value
        return value

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as the system knows by now."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, whatever it does."""
        # It may be deep in a decoder, where it hears no milder word.
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._pipe.close()

    def _how(self) -> str:
        """In what way it has ended."""
        code = self._process.wait()
        why = "a decoder crashed, or the memory was exhausted"
        if code >= 0:
            return f"died (exit code {code}; {why})"
        return f"died ({signal.Signals(-code).name}; {why})"


def ask_parent(*arguments: Any) -> Any:
    """In a worker: what the `answer` of the call at work returns or raises for these arguments."""
    assert _parent is not None
    _parent.send_bytes(pickle.dumps(("asks", arguments), protocol=5))
    kind, value = pickle.loads(_parent.recv_bytes())
    if kind == "raised":
        raise value
    return value


def kept(key: object, make: Callable[[], Any]) -> Any:
    """In a worker: what the first call under a key made, until the parent has no more work."""
    if key not in _kept:  # encoders and bases are large, and slow to load
        _kept[key] = make()
    return _kept[key]


# ---------------------------------------------------------------- in the parent

_idle: list[_Worker] = []


def _waiting() -> _Worker | None:
    """A worker of an earlier call; not one of a process that this one was forked from."""
    while _idle:
        worker = _idle.pop()
        if worker.parent == os.getpid():
            return worker
    return None


def _put_by(worker: _Worker) -> None:
    """Keep a worker for later, unless it holds a GPU's memory or there are enough."""
    try:
        holds = worker.call(_forget, (), None, 60)
    except _EndedError:
        holds = True
    if holds or len(_idle) >= _KEPT_IDLE:
        worker.stop()
    else:
        _idle.append(worker)


@atexit.register
def _stop_waiting() -> None:
    while (worker := _waiting()) is not None:
        worker.stop()


def _answered(answer: Answer | None) -> Answer:
    assert answer is not None, "a worker asked what nobody answers"
    return answer


# ---------------------------------------------------------------- in a worker

_parent: Connection | None = None
_kept: dict[object, Any] = {}
_begun = ExitStack()


def serve(pipe: int) -> None:
    """Do what the parent sends, one thing at a time, until it ends.

    Args:
        pipe: File descriptor of the worker's end.
    """
    global _parent
    # Before anything that may hang.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _die_first()
    _parent = Connection(pipe)
    while True:
        try:
            work, arguments = pickle.loads(_parent.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
        _parent.send_bytes(_attempt(work, arguments))


def _attempt(work: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """What became of a call, as the other side reads it."""
    try:
        return pickle.dumps(("done", work(*arguments)), protocol=5)
    except BaseException as error:
        if not isinstance(error, PaveError):
            # Of a mistake in the code, the other side could not show where it was.
            error.add_note("".join(traceback.format_exception(error)))
        try:
            reply = pickle.dumps(("raised", error), protocol=5)
            pickle.loads(reply)  # errors with arguments of their own often cannot be made again
            readable = isinstance(error, Exception)  # no SystemExit: it would end the parent
        except Exception:
            readable = False
        if readable:
            return reply
        words = RuntimeError(f"{type(error).__name__}: {error}")
        return pickle.dumps(("raised", words), protocol=5)


def _begin(
    folder: str, environment: dict[str, str], path: list[str], device: str, threads: int
) -> None:
    """Be where the parent is now, and compute where it does with a share of the processors."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path

    import torch

    from pave.placement import running_on

    _begun.enter_context(running_on(device))
    torch.set_num_threads(threads)


def _forget() -> bool:
    """Drop what was loaded; whether the process holds a GPU's memory all the same."""
    import torch

    _kept.clear()
    _begun.close()
    # A context stays on the GPU for as long as its process lives.
    return bool(torch.cuda.is_initialized())


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and one that hangs would stay for ever."""
    with suppress(OSError):
        os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
    os._exit(1)


def _die_first() -> None:
    """Where memory runs out, let the system end the worker, not the parent with its model."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # Linux alone has it
        file.write("800")
