"""What a run cost and on what: seconds by stage, peak memory of all processes, versions."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import psutil  # accelerate, which pave needs anyway, brings it along

from pave.texts import counted
from pave.version import __version__

if TYPE_CHECKING:  # the verb that lists versions is quick
    import torch

PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "av", "numpy")
_MEGABYTE = 1e6


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    # Not looked up: from a source tree there may be no installed package to ask.
    found = {"python": platform.python_version(), "pave": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor(device: torch.device | None = None) -> str:
    """What computes, in a few words.

    Args:
        device: The device; the CPU when not given.

    Example:
        >>> processor()  # doctest: +SKIP
        'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, AVX512, 2 threads'
    """
    import torch

    kind = "cpu" if device is None else device.type
    if kind == "cuda":
        return str(torch.cuda.get_device_name(device))
    if kind != "cpu":
        return f"{platform.machine()}, {kind}"
    # What torch uses of it, which `ATEN_CPU_CAPABILITY` can lower.
    units = torch.backends.cpu.get_cpu_capability()
    return f"{_model_name()}, {units}, {counted(torch.get_num_threads(), 'thread')}"


def _model_name() -> str:
    """What the processor calls itself; its architecture where the system does not tell."""
    known = Path("/proc/cpuinfo")  # Linux
    if known.is_file():
        for line in known.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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
            so_far = self.seconds.get(name, 0.0)
            self.seconds[name] = round(so_far + time.perf_counter() - start, 2)


class PeakMemory:
    """The most resident memory that this process and all its descendants held at one time.

    A thread samples the process tree while the context lasts; pages that processes share are
    counted in each, so the number errs upwards.

    Example:
        >>> with PeakMemory() as memory:
        ...     pass
        >>> memory.megabytes > 1
        True
    """

    def __init__(self, every: float = 0.5) -> None:
        """Sample each `every` seconds."""
        self._every = every
        self._peak = 0.0
        self._stop = threading.Event()
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
    """Resident memory of a process and its descendants right now."""
    process = psutil.Process(root)
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    return total / _MEGABYTE


def _own_peak() -> float:
    """What the operating system itself remembers of this process, between samples too."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / _MEGABYTE
    import resource  # POSIX only

    # Processes that this one started do not count here; the samples have them.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    return peak * unit / _MEGABYTE
