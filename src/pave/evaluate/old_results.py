"""`results.json` of an older pave: exact match stood beside the tasks, in rows of its own.

Its rows `arms` and `paired` are still written, for programs that read them; what is read is `task`,
which older files have only where a benchmark scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    rows = list(map(_named, arms))
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
        "gaps": list(map(_gap, map(_named, paired or []))),
    }
    return found


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row under its present name."""
    family = row["family"]
    return {**row, "family": _OLD_ROWS.get(family, family)}


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
        "p": None,
    }
