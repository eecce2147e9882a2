"""`pave runs`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pave.cli import output
from pave.cli.settings import Switch

if TYPE_CHECKING:
    from pave.train.runs import Run


def runs_verb(folder: Path, /, *, json: Switch = False) -> int:
    """List the training runs in a folder and compare them.

    A line for each run says how far it is, its loss, and the settings in which the runs differ.
    Each run folder also holds `log.csv`, and `run.html` with the curves.

    ```
    pave runs runs
    pave runs runs --json
    ```

    Args:
        folder: A run folder, or a folder of them.
        json: Print all settings and figures as JSON.
    """
    from pave.train.runs import differing, find_runs

    runs = find_runs(folder)
    if json:
        output.as_json([asdict(run) for run in runs])
        return 0
    # What all runs share would only widen the table.
    names = differing(runs)
    head = ["run", "state", "step", "loss", "residual", "seconds", *names]
    rows = [[*_figures(run, folder), *_values(run, names)] for run in runs]
    # Runs without any validation have no column for it.
    bests = list(map(_best, runs))
    if any(bests):
        head.append("best validation")
        for row, best in zip(rows, bests, strict=True):
            row.append(best)
    output.table(head, rows)
    return 0


def _figures(run: Run, folder: Path) -> list[str]:
    """The cells that every run has."""
    name = run.folder.relative_to(folder).as_posix()
    if name == ".":  # the folder is a run itself
        name = run.folder.absolute().name
    cells = [name, run.state, f"{run.step:,}"]
    # A run that has no row yet has none of these.
    for value, form in ((run.loss, ".4f"), (run.residual, ".3f"), (run.seconds, ".0f")):
        if value is None or not run.step:
            cells.append("")
        else:
            cells.append(format(value, form))
    return cells


def _best(run: Run) -> str:
    """The best validation: what was scored, the score and its step."""
    if run.best is None:
        return ""
    return f"{run.best['metric']} {run.best['validation']:.4f} at {run.best['step']:,}"


def _values(run: Run, names: list[str]) -> list[str]:
    """The settings in which the runs differ."""
    values = []
    for name in names:
        value = run.settings.get(name)
        if value is None:  # an empty cell says it better
            value = ""
        values.append(str(value))
    return values
