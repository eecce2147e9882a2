"""What a run folder always holds to watch a run by: `log.csv` and `run.html`."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.files import write_text_atomically, writing
from pave.train.page import page

CSV_NAME, PAGE_NAME = "log.csv", "run.html"
COLUMNS = (
    "step",
    "loss",
    "lr_lora",
    "lr_fusion",
    "lr_gate",
    "grad_norm",
    "residual_ratio",
    "tokens_per_second",
    "seconds",
    "seconds_left",
    "validation",
)
"""Columns of `log.csv`; a run without some part of a patch leaves that part's empty.

A validation has a row of its own.
"""
SECONDS_BETWEEN = 5.0
"""The page is written no more often, so that it costs nothing in a fast run."""


class RunFiles:
    """Writes both files as a run goes on.

    Args:
        folder: The run folder.
        rows: Rows of the log so far.
        steps: Optimiser steps of the whole run.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[Mapping[str, Any]],
        steps: int,
    ) -> None:
        self.folder, self.steps = folder, steps
        self.rows = list(rows)
        self._written = 0.0
        # Rows after the step that a run resumes from are written again.
        text = _lines([dict(zip(COLUMNS, COLUMNS, strict=True)), *rows])
        write_text_atomically(folder / CSV_NAME, text)
        self._write_page("running", live=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row of the log."""
        self.rows.append(row)
        # Only its own line: a file that is written whole for each row would grow quadratically.
        with writing(self.folder / CSV_NAME), (self.folder / CSV_NAME).open("a") as out:
            out.write(_lines([row]))
        if time.monotonic() - self._written >= SECONDS_BETWEEN:
            self._write_page("running", live=True)

    def close(self, state: str) -> None:
        """Write the page for the last time, with how the run ended."""
        self._write_page(state, live=False)

    def _write_page(self, state: str, *, live: bool) -> None:
        """Write `run.html`; while it is live, a browser loads it again and again."""
        last: Mapping[str, Any] = {"step": 0}  # before the first row
        for row in reversed(self.rows):
            if row.get("loss") is not None:  # not a validation
                last = row
                break
        facts = {"state": state, "step": f"{last['step']:,} of {self.steps:,}"}
        if "loss" in last:
            facts["loss"] = f"{last['loss']:.4f}"
        if best := best_validation(self.rows):
            facts["best validation"] = f"{best['validation']:.4f} after step {best['step']:,}"
        if live and last.get("seconds_left") is not None:
            facts["time left"] = clock(last["seconds_left"])
        if last.get("seconds") is not None:
            facts["trained for"] = clock(last["seconds"])
        # After a kill the page goes on reloading; then this time is what tells.
        facts["written at"] = time.strftime("%Y-%m-%d %H:%M:%S")
        text = page(self.folder.absolute().name, facts, self.rows, live=live)
        write_text_atomically(self.folder / PAGE_NAME, text)
        self._written = time.monotonic()


def best_validation(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first row with the highest score in validation; None without any."""
    # Equal scores: the earlier step, as the run itself has it.
    scored = [row for row in rows if row.get("validation") is not None and "metric" in row]
    return max(scored, key=lambda row: float(row["validation"]), default=None)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> clock(3725)
        '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as lines of CSV; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writerows(rows)
    return text.getvalue()
