"""`results.json` of an older pave: exact match stood beside the tasks, in rows of its own.

Its rows `arms` and `paired` are still written, for programs that read them; what is read is `task`,
which older files have only where a benchmark scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from pave.renamed import renamed
from pave.tasks import EXACT, get_task
from pave.tasks.compare import ALL

# Rows that were called after what a question takes, in other words than channels.
_OLD_ROWS = {"sound": "audio", "visual": "video"}


def with_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a results file with the scores of exact match under `task`.

    Args:
        values: What a file holds, or the fields of a `Report`.
    """
    found = dict(values)
    # Both follow from `task`, so a `Report` has no such fields to fill.
    arms, paired = found.pop("arms", None), found.pop("paired", None)
    # A file of today, or a `Report` in the making.
    if found.get("task") is not None or not arms:
        return found
    named = partial(_named, _present_names(arms))
    rows = list(map(named, arms))
    total = next(row["n"] for row in rows if row["family"] == ALL)
    found["task"] = {
        "name": EXACT,
        "title": get_task(EXACT).title,
        # An older pave kept neither this nor the prompt.
        "split": "",
        "prompt": "unknown",
        "scored": total,
        "records": total,
        "expected": None,
        "arms": _reports(rows),
        "gaps": list(map(_gap, map(named, paired or []))),
    }
    return found


def _present_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name of a row in the file -> what it is called today; every old one is told of once."""
    families = list(map(itemgetter("family"), rows))
    names = dict(zip(families, families, strict=True))
    for old, new in _OLD_ROWS.items():
        # A family of somebody's own may bear a channel's name; see `channel_and_family`.
        if old in names and new in names:
            names[f"{new} (family)"] = names.pop(new)
    present = renamed(names, _OLD_ROWS, "results file, rows")
    return dict(zip(present.values(), present, strict=True))


def _named(names: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row under its present name."""
    return {**row, "family": names[row["family"]]}


def _reports(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Arm -> its scores, of all questions and of each family."""
    reports: dict[str, dict[str, Any]] = {}
    # Twice over the rows: those of all questions first, which make the reports.
    for row in rows:
        if row["family"] == ALL:
            reports[row["arm"]] = {
                "task": EXACT,
                "style": "default",
                "prompt": "unknown",
                "scored": row["n"],
                "expected": row["n"],
                "published": None,
                "missing": [],
                "unknown": [],
                "scores": {"accuracy": row["accuracy"]},
                "table": ["accuracy"],
                "ci95": {"accuracy": row["ci95"]},
                "labels": [],
                "notes": {},
                "settings": {},
            }
    for row in rows:
        if row["family"] != ALL:
            label = {
                "label": row["family"],
                "n": row["n"],
                "scores": {"accuracy": row["accuracy"]},
            }
            reports[row["arm"]]["labels"].append(label)
    return reports


def _gap(row: Mapping[str, Any]) -> dict[str, Any]:
    """A difference, of which no p-value was kept."""
    return {
        "score": "accuracy",
        "label": row["family"],
        "a": row["a"],
        "b": row["b"],
        "difference": row["difference"],
        "ci95": row["ci95"],
        "clusters": row.get("clusters"),  # not counted by an older pave
        "p": None,
    }
