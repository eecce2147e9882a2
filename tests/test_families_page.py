"""The page on families holds what is measured: each cell anew, where it can be had here."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from helpers import tiny

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import families  # noqa: E402  (a script, not a package)


def _page() -> tuple[list[str], dict[str, list[str]]]:
    """Columns, and the cells of each family."""
    text = families.PAGE.read_text("utf-8")
    (header,) = re.findall(r"^\| family \| (.*) \|$", text, re.MULTILINE)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    return header.split(" | "), {family: cells.split(" | ") for family, cells in rows.items()}


def test_every_family_is_on_the_page() -> None:
    columns, rows = _page()
    assert list(rows) == list(tiny.FAMILIES)
    assert {len(cells) for cells in rows.values()} == {len(columns)}
    assert not [cell for cells in rows.values() for cell in cells if "*" in cell]  # none is wrong
    text = families.PAGE.read_text("utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == list(tiny.FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_cells_are_those_measured(family: str, tmp_path: Path) -> None:
    columns, rows = _page()
    found, said = families.measure(family, tmp_path)
    for column, cell in zip(columns, rows[family], strict=True):
        if found[column] != families.NOT_HAD:  # a package or a folder that is not here
            assert found[column] == cell, column
    assert said.count("\n") == 1 + len(families.COLUMNS)
    text = families.PAGE.read_text("utf-8")
    (own,) = re.findall(rf"^### {family}\n\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    # What does not round: it is not to grow stale.
    for name in ("loads", "stop tokens", "visual tokens", "context"):
        assert _row(said, name) == _row(own, name)
    # The template may be one of the hub's, whose files are not everywhere.
    if found["template"] == rows[family][columns.index("template")]:
        assert _row(said, "chat format") == _row(own, "chat format")


def _row(table: str, name: str) -> str:
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", table, re.MULTILINE)
    return str(row)
