"""Leases: who works on what, among processes that share nothing but a folder.

A lease is a file that only one process can put in place (by a hard link), and whose modification
time its holder renews. A holder that was killed stops renewing; after a while, or at once if it ran
on this machine, its lease is taken over. No server and no file locks, which network file systems
keep badly.

Leases save work, they do not guard data: two processes that do the same work (one was suspended for
longer than a lease lives) write the same content under the same names.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

STALE_SECONDS = 60.0
_POLL = 0.05


class Leases:
    """The leases that this process holds in one folder; a thread renews them until they are released.

    Args:
        folder: Where lease files live; made when missing.
        stale: Seconds without renewal after which a lease is up for grabs.

    Example:
        >>> with Leases(Path("store/leases")) as leases:  # doctest: +SKIP
        ...     if leases.acquire("unit-7"):
        ...         leases.release("unit-7")
    """

    def __init__(self, folder: Path, stale: float = STALE_SECONDS) -> None:
        self.folder, self.stale = folder, stale
        self._held: dict[str, str] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Leases for the time of a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release all that are still held, and clear away what killed processes of this machine left half done."""
        self._closed.set()
        for name in list(self._held):
            self.release(name)
        if self._thread is not None:
            self._thread.join()
        for path in self.folder.glob(".*"):
            if _has_no_author(path):
                path.unlink(missing_ok=True)

    def acquire(self, name: str) -> bool:
        """Take a lease if nobody alive holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": uuid4().hex})
        for _ in range(2):
            if _put_in_place(path, owner):
                self._held[name] = owner
                self._renew_from_now_on()
                return True
            if not self._take_over(path):
                return False
        return False

    def release(self, name: str) -> None:
        """Give a lease back, unless somebody has taken it over in the meantime."""
        owner = self._held.pop(name, None)
        path = self.folder / name
        with contextlib.suppress(OSError):
            if owner is not None and path.read_text() == owner:
                path.unlink()

    @contextlib.contextmanager
    def hold(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lease for the time of a block.

        Args:
            name: Which.
            wait: Wait for it; otherwise the block runs without it and is told so.

        Yields:
            Whether the lease is held.
        """
        held = self.acquire(name)
        while wait and not held:
            time.sleep(_POLL)
            held = self.acquire(name)
        try:
            yield held
        finally:
            if held:
                self.release(name)

    def _take_over(self, path: Path) -> bool:
        """Put a dead holder's lease out of the way; whether the place may be free now."""
        try:
            seen, owner = path.stat(), path.read_text()
        except FileNotFoundError:
            return True
        if not _is_dead(owner) and file_clock(self.folder) - seen.st_mtime <= self.stale:
            return False
        aside = _own_file(self.folder)
        try:
            path.rename(aside)  # of several that see the same dead lease, one succeeds
        except FileNotFoundError:
            return True
        moved = aside.stat()
        ours = (moved.st_ino, moved.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns)
        if not ours:  # another process was quicker, and this is its fresh lease: put it back
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
        return ours

    def _renew_from_now_on(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew, name="pave-leases", daemon=True)
            self._thread.start()

    def _renew(self) -> None:
        while not self._closed.wait(self.stale / 6):
            for name, owner in list(self._held.items()):
                path = self.folder / name
                with contextlib.suppress(OSError):
                    if path.read_text() == owner:
                        os.utime(path)


def file_clock(folder: Path) -> float:
    """The time by the clock that stamps files in a folder; on a network file system that is not this machine's."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime


def _put_in_place(path: Path, owner: str) -> bool:
    """Make a lease file, whole from the first moment; whether there was none before."""
    draft = _own_file(path.parent)
    try:
        draft.write_text(owner)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except (
            OSError
        ):  # no hard links here (exFAT, some mounted clouds): for a moment it is there, but empty
            try:
                with path.open("x") as stream:
                    stream.write(owner)
            except FileExistsError:
                return False
        return True
    finally:
        draft.unlink(missing_ok=True)


def _own_file(folder: Path) -> Path:
    """A hidden file for a moment, whose name says who made it, so that it can be cleared away if its author is killed."""
    return folder / f".{socket.gethostname()}-{os.getpid()}-{uuid4().hex}"


def _has_no_author(path: Path) -> bool:
    host, pid, _ = ["", "", *path.name[1:].rsplit("-", 2)][-3:]
    return pid.isdecimal() and _has_ended(host, int(pid))


def _is_dead(owner: str) -> bool:
    """Whether a lease's holder has ended, as far as this machine can tell."""
    try:
        facts = json.loads(owner)
        return _has_ended(str(facts["host"]), int(facts["pid"]))
    except (ValueError, TypeError, KeyError):
        return False  # not filled yet: only its age tells


def _has_ended(host: str, pid: int) -> bool:
    """Whether a process ran on this machine and runs no more."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
