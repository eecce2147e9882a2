"""docs/how-to/add-a-family.md, followed to the letter."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from helpers.pages import DOCS, files_of, follow
from pave import registry
from pave.bases import find_family
from pave.bases.families import FAMILIES

PAGE = DOCS / "how-to" / "add-a-family.md"
FILES = files_of(PAGE)


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files in a folder that can be imported from."""
    return follow(FILES, tmp_path, monkeypatch)


def test_at_most_three_files() -> None:
    assert set(FILES) == {"my_family.py", "test_my_family.py", "pyproject.toml"}


def test_its_test_passes(followed: Path) -> None:
    import test_my_family

    test_my_family.test_my_family()


def test_its_entry_point_is_found(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package announces it, here for a model type that is nobody's yet."""
    project = tomllib.loads((followed / "pyproject.toml").read_text())["project"]
    ((_, value),) = project["entry-points"]["pave.families"].items()
    code = followed / "my_family.py"
    code.write_text(code.read_text().replace('("llava_next_video",)', '("my_model",)'))
    point = EntryPoint("my_model", value, "pave.families")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert "my_model" in FAMILIES.names()
    assert find_family("my_model").name == "my_family"
