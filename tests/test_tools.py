"""The tools that measure the code: right on code that was counted by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

CODE = '''"""A docstring: not code."""

# A comment.
ATTRIBUTE = 1
"""Its docstring: not code either."""


def even(numbers):  # behind code
    """Not code."""
    found = [n for n in numbers if n % 2 == 0]
    return found if found else None
'''


@pytest.fixture
def density(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("density", ROOT / "tools" / "density.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "density", module)
    spec.loader.exec_module(module)
    return module


def test_density_is_what_a_person_counts(density: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "even.py"
    file.write_text(CODE)
    found = density.measure(file)
    assert (found.lines, found.code) == (11, 4)
    # ATTRIBUTE = 1 / def even ( numbers ) : / found = [ ... ] / return found if found else None
    assert found.tokens == 3 + 6 + 15 + 6
    assert (found.comprehensions, found.conditionals, found.comments) == (1, 1, 2)


def test_what_is_denser_than_recorded_is_named(density: ModuleType) -> None:
    thin, thick = (
        density.Density(code=100, tokens=800, comments=7),
        density.Density(code=100, tokens=900, comments=7),
    )
    allowed = {"pave/room": thin.figures(), "all": density.LIMITS}
    assert density.complaints({"pave/room": thin}, allowed) == []
    found = density.complaints({"pave/room": thick}, allowed)
    assert found[0] == "pave/room: tokens a line 9.0, recorded 8.0"


def test_no_room_is_denser_than_recorded(density: ModuleType) -> None:
    assert density.main(["--check"]) == 0
