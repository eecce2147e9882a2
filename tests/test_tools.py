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


@pytest.fixture
def style(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("proselint")
    spec = importlib.util.spec_from_file_location("prose", ROOT / "tools" / "prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "prose", module)
    spec.loader.exec_module(module)
    return module


PAGE = """# A page

The cat sat. The dog ran `pip install Pytorch`.

```python
Pytorch = 1
```

<!-- bench:x:start -->
HuggingFace
<!-- bench:x:end -->

- Pytorch and a [HuggingFace](https://example.org/HuggingFace) link.
"""


def test_only_the_prose_of_a_page_is_looked_at(style: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = [line.removeprefix(f"{page}:") for line in style.complaints(page)]
    assert found == [
        "13: 'HuggingFace': write 'Hugging Face'",
        "13: 'Pytorch': write 'PyTorch'",
    ]


def test_the_grade_is_that_of_the_formula(style: ModuleType) -> None:
    # Two sentences of three words of one syllable: 0.39 * 3 + 11.8 * 1 - 15.59
    assert style.grade("The cat sat. The dog ran.") == pytest.approx(-2.62)
    # banana, table and code: 3 + 1 + 1 syllables as counted, a silent e left out
    assert [style.syllables(word) for word in ("banana", "code", "the")] == [3, 1, 1]


def test_long_sentences_and_lines_are_named(style: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("It is " + "very-long " * 50 + "here.\n")
    found = " ".join(style.complaints(page))
    assert "53 words, at most 45" in found and "characters, at most" in found
