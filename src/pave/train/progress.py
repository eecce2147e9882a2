"""What a run tells: a row every few steps, the page of its curves, and a bar on a terminal."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pave.errors import TrainError
from pave.files import regular_file, write_text_atomically, writing
from pave.texts import parse_json
from pave.train.run_files import COLUMNS, RunFiles

log = logging.getLogger(__name__)

# What the Trainer logs for its trackers and a row has in its own way, or not at all.
_OF_THE_TRAINER = {"learning_rate", "epoch", "total_flos", "step"}


@contextmanager
def progress_bar(title: str, show: bool = True) -> Iterator[Progress]:
    """A compact bar on the error stream; invisible when that is no terminal or `show` is off.

    Example:
        >>> with progress_bar("encoding", show=False) as bar:
        ...     task = bar.add_task("encoding", total=2)
    """
    visible = show and sys.stderr.isatty()
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    more = TextColumn("{task.fields[note]}")
    with Progress(
        *columns, more, console=Console(stderr=True), disable=not visible, transient=True
    ) as bar:
        yield bar


class Reporter(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Writes the log and moves the bar.

    Each row of the log has `step`, `loss` (mean per answer token since the last row), `grad_norm`,
    `lr_<group>`, `residual_ratio` (how loud the patch is beside the visual tokens),
    `tokens_per_second` (of all processes, padding included), `seconds`, and
    `seconds_left`. A validation has a row of its own: `step`, the `metric` that decides, its value
    as `validation`, and each score as `eval_<score>`. `log.csv` and `run.html` beside the log show
    the same.

    Args:
        path: The log, JSON lines. Rows after the step a run resumes from are dropped.
        bar: Progress bar to move, or None.

    Raises:
        TrainError: As soon as a logged loss is not a number.
    """

    def __init__(self, path: Path, bar: Progress | None = None) -> None:
        """Nothing is written before training begins."""
        self.path, self.bar = path, bar
        self.started = time.perf_counter()
        self.rates: dict[str, float] = {}
        self.ratios: list[Tensor] = []
        self.files: RunFiles | None = None
        self.metric: str | None = None  # the score that decides which step is best
        self.first = 0  # the step that this call goes on from
        self.told, self.tokens = self.started, 0  # when the last row was written; tokens since

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop rows that will be written again, and show the bar."""
        self.started = self.told = time.perf_counter()
        self.first = state.global_step
        if not state.is_world_process_zero:
            return
        rows = [row for row in read_log(self.path) if row["step"] <= state.global_step]
        write_text_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self.files = RunFiles(self.path.parent, rows, state.max_steps)
        if self.bar:
            self.task = self.bar.add_task(
                "train", total=state.max_steps, completed=state.global_step, note=""
            )

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note the learning rates this step used, before the schedule moves on."""
        self.rates = {
            f"lr_{group['name']}": group["lr"] for group in kwargs["optimizer"].param_groups
        }

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note how loud the patch is, and move the bar."""
        model = getattr(kwargs["model"], "module", kwargs["model"])
        self.ratios.append(model.ratio)
        self.tokens += model.tokens * args.world_size  # the others' batches are as large
        model.tokens = 0
        if self.bar and state.is_world_process_zero:
            self.bar.update(self.task, completed=state.global_step)

    def measured(self, state: TrainerState) -> dict[str, float]:
        """What the Trainer does not know of the steps since the last row, for log and trackers."""
        now = time.perf_counter()
        seconds = now - self.started
        left = (state.max_steps - state.global_step) / max(1, state.global_step - self.first)
        found = {
            **self.rates,
            "residual_ratio": float(sum(self.ratios)) / max(1, len(self.ratios)),
            "tokens_per_second": round(self.tokens / max(1e-9, now - self.told), 1),
            "seconds": round(seconds, 3),
            "seconds_left": round(left * seconds, 3),
        }
        self.ratios, self.tokens, self.told = [], 0, now
        return found

    def close(self, state: str) -> None:
        """Say on the page how the run ended."""
        if self.files is not None:
            self.files.close(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Append one row."""
        logs = kwargs.get("logs", {})
        if f"eval_{self.metric}" in logs:
            self._validated(state, logs)
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainError(
                f"the loss became {logs['loss']} by step {state.global_step}; lower the learning "
                "rates or lengthen the warm-up"
            )
        row = {"step": state.global_step}
        for name in logs:
            if name in _OF_THE_TRAINER:
                continue
            row[name] = logs[name]
        if not state.is_world_process_zero:
            return
        self._add(row)
        log.info(
            "step %d of %d: loss %.4f, residual %.3f",
            row["step"],
            state.max_steps,
            row["loss"],
            row["residual_ratio"],
        )
        if self.bar:
            self.bar.update(self.task, note=f"loss {row['loss']:.3f}")

    def _validated(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Append the row of a validation: the score that decides, and all scores."""
        # The time that it took is not the steps'.
        self.told = time.perf_counter()
        if not state.is_world_process_zero:
            return
        score = logs[f"eval_{self.metric}"]
        row = {"step": state.global_step, "metric": self.metric, "validation": score}
        for name in logs:
            if name.startswith("eval_"):
                row[name] = logs[name]
        self._add(row)
        log.info("step %d of %d: %s %.4f", row["step"], state.max_steps, self.metric, score)

    def _add(self, row: dict[str, Any]) -> None:
        """Append a row to the log, the table and the page."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        if self.files is not None:
            self.files.add(row)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The complete rows of a log; a line that is no row is left out."""
    if not path.exists():
        return []
    regular_file(path, TrainError, "a log")
    rows = []
    # Bytes, since a kill may have cut the last line inside a character.
    for line in path.read_bytes().splitlines():
        try:
            row = parse_json(line)
        except ValueError:  # cut off, or no text
            continue
        if _is_row(row):
            rows.append(row)
    return rows


def _is_row(row: Any) -> bool:
    """Whether a line's content is what `Reporter` writes: a step, its loss, and other numbers.

    A validation has its score instead of a loss.
    """
    if not isinstance(row, dict):
        return False
    step = row.get("step")
    if not isinstance(step, int) or not _is_number(step) or step < 1:
        return False
    scored = _is_number(row.get("validation")) and isinstance(row.get("metric"), str)
    if not scored and not _is_number(row.get("loss")):
        return False
    for name in COLUMNS:
        value = row.get(name)
        # A gradient may overflow in a step whose loss is finite.
        if name == "grad_norm" and isinstance(value, float):
            continue
        if value is not None and not _is_number(value):
            return False
    return True


def _is_number(value: Any) -> bool:
    """Whether it is a number that arithmetic takes: finite, and no larger than a float can be."""
    # To Python, True is a number.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON's integers have no end
        return False
