"""What a run cost and on what: seconds of each stage, peak memory of the whole process tree, versions."""

from __future__ import annotations

import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Self

PACKAGES = ("pave", "torch", "transformers", "peft", "accelerate", "safetensors", "av", "numpy")
_PROC = Path("/proc")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Stopwatch:
    """Wall seconds of named stages.

    Example:
        >>> watch = Stopwatch()
        >>> with watch.stage("evaluate"):
        ...     pass
        >>> list(watch.seconds)
        ['evaluate']
    """

    def __init__(self) -> None:
        """Start with no stages."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a name used twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 2)


class PeakMemory:
    """The most resident memory that this process and all its descendants held at one time, while the context lasts.

    On Linux a thread samples the process tree; pages that processes share are counted in each, so
    the number errs upwards. Elsewhere it is the own peak plus the largest child's, as the operating
    system reports them.

    Example:
        >>> with PeakMemory() as memory:
        ...     pass
        >>> memory.megabytes > 1
        True
    """

    def __init__(self, every: float = 0.5) -> None:
        """Sample each `every` seconds."""
        self._every, self._stop, self._peak = every, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._watch, name="pave-memory", daemon=True)

    def __enter__(self) -> Self:
        """Start to sample."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to sample."""
        self._stop.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        """The peak so far, in units of 1,000,000 bytes; never less than this process's own."""
        return round(max(self._peak, _own_peak()), 1)

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, tree_megabytes(os.getpid()))
            if self._stop.wait(self._every):
                return


def tree_megabytes(root: int) -> float:
    """Resident memory of a process and its descendants right now; 0 where /proc does not tell."""
    parents, sizes = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in _PROC.glob("[0-9]*"):
        try:
            # The name in parentheses may hold anything; the parent is the second field behind it,
            # rss the twenty-second.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(entry.name)], sizes[int(entry.name)] = int(fields[1]), int(fields[21]) * page
    return sum(size for pid, size in sizes.items() if _descends(pid, root, parents)) / 1e6


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid != root and pid in parents:
        pid = parents[pid]
    return pid == root


def _own_peak() -> float:
    scale = 1e-6 if sys.platform == "darwin" else 1024e-6
    people = (
        (resource.RUSAGE_SELF,)
        if _PROC.is_dir()
        else (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(resource.getrusage(who).ru_maxrss for who in people) * scale
