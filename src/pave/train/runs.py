"""Runs side by side: what lies in a folder of run folders, and in what their settings differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.texts import read_settings
from pave.train.dotted import dotted
from pave.train.folder import LOG_NAME
from pave.train.progress import read_log
from pave.train.result import final_loss
from pave.train.run_files import best_validation

_DEPTH = 3  # folders below the one that is named; runs lie in one or two
# Where things are says nothing about a run.
_PLACES = ("out", "cache", "resume", "workers", "save_every", "log_every")


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: Where it is.
        state: "finished" if there is a patch, else "unfinished".
        step: The last step in the log, 0 for a run without one.
        loss: Mean loss over the last tenth of the log; NaN without one.
        residual: |residual| / |visual tokens| in the last row, or None.
        seconds: Of training, in the call that wrote the last row; or None.
        best: Row of the best validation, with `step`, `metric` and `validation`; or None.
        settings: Dotted name -> value, all settings.
    """

    folder: Path
    state: str
    step: int
    loss: float
    residual: float | None
    seconds: float | None
    best: Mapping[str, Any] | None
    settings: Mapping[str, Any]


def find_runs(folder: Path) -> list[Run]:
    """The runs in a folder and in folders inside it, by name.

    Raises:
        ConfigError: If there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"the folder {folder} does not exist; give a folder that holds runs of pave train"
        )
    runs = list(map(_read, _folders(folder, _DEPTH)))
    if not runs:
        raise ConfigError(
            f"{folder} holds no run of pave train (a folder with settings.yaml and {LOG_NAME})"
        )
    return runs


def differing(runs: Sequence[Run]) -> list[str]:
    """Settings, by dotted name, that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    found = []
    for name in names:
        # Lists and objects cannot be members of a set; their texts can.
        values = {repr(run.settings.get(name)) for run in runs}
        if len(values) > 1:
            found.append(name)
    return found


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Run folders, not looked into further."""
    if (folder / LOG_NAME).is_file() and (folder / "settings.yaml").is_file():
        yield folder
        return
    if depth == 0:
        return
    # A run's own folders, such as its checkpoints, hold no runs.
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            yield from _folders(inner, depth - 1)


def _read(folder: Path) -> Run:
    """A run as its folder shows it, also one that was killed."""
    rows = read_log(folder / LOG_NAME)
    last: Mapping[str, Any] = {}
    for row in rows:
        if row.get("loss") is not None:  # not a validation
            last = row
    try:
        settings = read_settings(folder / "settings.yaml", ConfigError, "steps: 100")
    except ConfigError:
        settings = {}  # cut off by a kill; the log still says how it went
    flat = dotted(settings)
    for name in _PLACES:
        flat.pop(name, None)
    state = "unfinished"
    # The patch is the last thing that a run writes.
    if (folder / "patch" / "patch.json").is_file():
        state = "finished"
    return Run(
        folder=folder,
        state=state,
        step=int(last.get("step", 0)),
        loss=final_loss(rows),
        residual=last.get("residual_ratio"),
        seconds=last.get("seconds"),
        best=best_validation(rows),
        settings=flat,
    )
