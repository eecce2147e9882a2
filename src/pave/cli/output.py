"""What verbs print: lines, JSON, tables and progress.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pave.errors import printable
from pave.texts import PrintableFormatter

FIRST_LINE, NEXT_LINE = 10.0, 30.0
"""Seconds of a stage before the first line, and between lines, where there is no terminal."""
LONGEST, LONGEST_CELL = 2000, 300
"""Characters of one value that are printed, and of one cell of a table; JSON has all of them."""


def line(text: str = "") -> None:
    """One line on stdout; control characters, which come from files, are spelt out."""
    sys.stdout.write(f"{printable(text)}\n")


def piece(text: str) -> None:
    """A part of a line on stdout, shown at once."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"pave: {printable(clipped(text))}\n")


def as_json(data: Any) -> None:
    """Data for programs, indented; paths become text."""
    line(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> None:
    """A table on stdout, never cut to the width of a pipe.

    Args:
        header: Column titles.
        rows: Cells.
        numbers: Align all columns but the first to the right.
    """
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(header):
        grid.add_column(title, justify="right" if numbers and place else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(printable(clipped(cell, LONGEST_CELL)) for cell in row))
    console = Console(highlight=False, markup=False)
    # Elsewhere rich would cut cells at 80 columns.
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=400)
    # Captured, so that spaces at the ends of lines can go.
    with console.capture() as text:
        console.print(grid)
    sys.stdout.write("\n".join(part.rstrip() for part in text.get().splitlines()) + "\n")


def facts(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values in two columns; what would fill the terminal is cut short."""
    width = max(len(name) for name, _ in rows)  # of the widest name
    for name, value in rows:
        line(f"{name:<{width}}  {clipped(value)}")


def clipped(text: str, most: int = LONGEST) -> str:
    """A text from a file that somebody else wrote, in no more than so many letters and a note.

    Example:
        >>> clipped("a" * 1000, 3)
        'aaa [... 997 more characters]'
    """
    if len(text) <= most:
        return text
    return f"{text[:most]} [... {len(text) - most:,} more characters]"


def some(what: str, names: Sequence[str], shown: int = 5) -> None:
    """How many there are, and the first of them by name; nothing where there are none."""
    if not names:
        return
    more = ", ..." if len(names) > shown else ""
    line(f"{len(names):,} {what}: {', '.join(names[:shown])}{more}")


def log_to_stderr() -> None:
    """Show what the library logs, for verbs that run long.

    On a terminal a progress bar tells it better.
    """
    if not sys.stderr.isatty():  # a progress bar and a log would write over each other
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(PrintableFormatter("%(message)s"))
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        logging.getLogger("pave").setLevel(logging.INFO)


class Stages(Protocol):
    """Told how far a named stage is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """So many of so many are done."""


class Bars:
    """Progress on a terminal: a bar for each stage."""

    def __init__(self, bars: Progress) -> None:
        """Use these bars."""
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage, which appears the first time."""
        if stage not in self.tasks:  # stages that are skipped never show a bar
            self.tasks[stage] = self.bars.add_task(stage, total=total)
        self.bars.update(self.tasks[stage], completed=done, total=total)


class Lines:
    """Progress in a file or a pipe: a line now and then, and nothing of what is quick.

    Example:
        >>> Lines()("read", 1, 100)  # the first line comes when it has lasted a while
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell the time by this clock, in seconds."""
        self.clock = clock
        self.stage = ""
        self.began = self.due = 0.0
        self.before = 0  # done when the stage began: an interrupted run does not start at nothing

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say how far it is, if the last line was long ago."""
        now = self.clock()
        if stage != self.stage:
            self.stage, self.before = stage, done
            self.began, self.due = now, now + FIRST_LINE
            return
        if now < self.due:
            return
        self.due = now + NEXT_LINE
        left = ""
        fresh = done - self.before
        if fresh and done < total:
            seconds = (now - self.began) / fresh * (total - done)
            left = f", about {duration(seconds)} left"
        note(f"{stage}: {done:,} of {total:,}{left}")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds for people.

    Example:
        >>> duration(125.4)
        '2 min 5 s'
        >>> duration(7265)
        '2 h 1 min'
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60} min"
    if minutes:
        return f"{minutes} min {rest} s"
    return f"{rest} s"


@contextmanager
def stages() -> Iterator[Stages]:
    """Progress on stderr while the context lasts; bars are gone afterwards."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)
