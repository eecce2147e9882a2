"""What every figure shares: CPU seconds of two sides measured in turn, and the row of it.

A figure is one short file in `benchmarks/figures/` with a docstring that says what is compared, and

    def measure() -> list[Row]: ...

`run.py` finds the file, calls `measure` in a fresh process of its own, prints the rows, and writes
them to `outputs/bench/results.json` (and, with `--write`, between `<!-- bench:NAME:start -->` and
`<!-- bench:NAME:end -->` of docs/performance.md, NAME being the file's name with hyphens). Nothing
has to be registered. A figure that takes long names its `PARTS`, and its `measure(part)` is called
in a process for each. A complete figure:

    def measure() -> list[Row]: pair = in_turn(lambda: ours(batch), lambda: theirs(batch),
        repeats=5) return [Row.gain("shared prefix, 8 questions a video", pair, unit="CPU s a
        video", promise=5.0)]

CPU seconds are used, not wall time: they say the same on a busy machine. They count all threads of
this process, and with `children=True` those of child processes that have ended. The two sides
alternate (ours, peer, ours, peer, ...), so that a change of clock speed meets both, and the median
of each side counts.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Pair:
    """Medians of the two sides and how often each was measured."""

    ours: float
    peer: float
    n: int


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        figure: What is measured, in words.
        ours: Our side, in `unit`.
        peer: The other side, or the limit itself where there is no other side; in `unit`.
        ratio: `ours / peer` for a cost, `peer / ours` for a gain; the sign of `promise` says which
            way is good.
        unit: Of `ours` and `peer`.
        n: Measurements a side.
        promise: What the ratio should be ("at most 1.3", "at least 5"), or empty.
        note: What else to know, such as peak memory.
    """

    figure: str
    ours: float
    peer: float
    ratio: float
    unit: str
    n: int
    promise: str = ""
    note: str = ""

    @classmethod
    def cost(
        cls,
        figure: str,
        pair: Pair,
        unit: str = "CPU s",
        promise: float | None = None,
        note: str = "",
    ) -> Self:
        """Ratio = ours / peer: small is good."""
        words = "" if promise is None else f"at most {promise:g}"
        return cls(figure, pair.ours, pair.peer, pair.ours / pair.peer, unit, pair.n, words, note)

    @classmethod
    def gain(
        cls,
        figure: str,
        pair: Pair,
        unit: str = "CPU s",
        promise: float | None = None,
        note: str = "",
    ) -> Self:
        """Ratio = peer / ours: large is good."""
        words = "" if promise is None else f"at least {promise:g}"
        return cls(figure, pair.ours, pair.peer, pair.peer / pair.ours, unit, pair.n, words, note)

    @classmethod
    def limit(
        cls, figure: str, values: list[float], limit: float, unit: str = "CPU s", note: str = ""
    ) -> Self:
        """The median of our side against a number that it must stay under."""
        return cls.cost(
            figure, Pair(statistics.median(values), limit, len(values)), unit, 1.0, note
        )

    @property
    def kept(self) -> bool | None:
        """Whether the promise is kept; None where there is none."""
        if not self.promise:
            return None
        bound = float(self.promise.split()[-1])
        return self.ratio <= bound if self.promise.startswith("at most") else self.ratio >= bound


def cpu_seconds(children: bool = False) -> float:
    """User and system time of this process so far, all threads; or its ended children's too."""
    spent = time.process_time()
    if children:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent += usage.ru_utime + usage.ru_stime
    return spent


def spent(run: Callable[[], Any], children: bool = False) -> float:
    """CPU seconds of one call."""
    start = cpu_seconds(children)
    run()
    return cpu_seconds(children) - start


def in_turn(
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    repeats: int = 5,
    *,
    warm: bool = True,
    children: bool = False,
) -> Pair:
    """CPU seconds of both sides, measured alternately.

    Args:
        ours: One run of our side.
        peer: One run of the other side.
        repeats: Measurements a side; the median counts.
        warm: Run each side once beforehand.
        children: Count ended child processes as well.
    """
    if warm:
        ours()
        peer()
    both = [(spent(ours, children), spent(peer, children)) for _ in range(repeats)]
    return Pair(
        statistics.median(a for a, _ in both), statistics.median(b for _, b in both), repeats
    )


@contextmanager
def peak_growth() -> Iterator[Callable[[], float]]:
    """How far this process's resident memory rose above its start, in MB (Linux with glibc).

    Memory that earlier work freed is handed back to the system first, or it would be reused unseen.

    Yields:
        A function that returns the peak so far.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _reset_peak()
    before = memory("VmRSS")
    yield lambda: memory("VmHWM") - before


def _reset_peak() -> None:
    """Let the kernel forget the highest resident size so far."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def memory(field: str) -> float:
    """What Linux says of this process, in MB: `VmRSS`, resident memory now; `VmHWM`, its most."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6
