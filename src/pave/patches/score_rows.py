"""The scores that a patch was saved with, as people read them: for the card and `pave info`.

`patch.json` keeps whatever rows its program gave. Rows as the demo writes them, one for each arm
and kind of question, become a table with a column for each arm, in percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_PIVOT = {"arm", "family", "n", "accuracy"}


def shown_scores(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Rows of scores with short cells; those of several arms side by side, in percent.

    Args:
        rows: As `patch.json` has them.

    Example:
        >>> row = {"arm": "base", "family": "audio", "n": 8, "accuracy": 0.25, "ci95": [0.07, 0.59]}
        >>> shown_scores([row])
        [{'questions': 'audio', 'n': '8', 'base': '25.0 (7.0 to 59.0)'}]
        >>> shown_scores([{"score": "CIDEr", "value": 1.23456789}])
        [{'score': 'CIDEr', 'value': '1.235'}]
    """
    if _are_arms(rows):
        return _by_arm(rows)
    return list(map(_shortened, rows))


def how_to_read(rows: Sequence[Row]) -> str:
    """What the numbers of `shown_scores` are; empty for rows of a program's own form."""
    if not _are_arms(rows):
        return ""
    return "Accuracy in percent; in parentheses its 95 % interval, where it is known."


def _are_arms(rows: Sequence[Row]) -> bool:
    """Whether every row is an arm's accuracy on one kind of question."""
    for row in rows:
        if not row.keys() >= _PIVOT:
            return False
        # What a program writes there is its own matter.
        if not isinstance(row["accuracy"], int | float):
            return False
    return bool(rows)


def _by_arm(rows: Sequence[Row]) -> list[dict[str, str]]:
    """One row for each kind of question, and one column for each arm."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        kind = str(row["family"])
        # The first arm that was asked this kind of question begins its row.
        if kind not in found:
            found[kind] = {"questions": kind, "n": _short(row["n"])}
        found[kind][str(row["arm"])] = _percent(row["accuracy"], row.get("ci95"))
    return list(found.values())


def _shortened(row: Row) -> dict[str, str]:
    """A row of a program's own form."""
    return {name: _short(value) for name, value in row.items()}


def _percent(share: float, interval: Any) -> str:
    """A share in percent, with its interval where there is one."""
    text = f"{100 * share:.1f}"
    match interval:
        case [int() | float() as low, int() | float() as high]:
            return f"{text} ({100 * low:.1f} to {100 * high:.1f})"
    # None, or something that is no interval.
    return text


def _short(value: Any) -> str:
    """A cell with numbers of four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return str(value)
