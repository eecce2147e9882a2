"""How-to pages followed to the letter: their files, written where they can be imported from."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def files_of(page: Path) -> dict[str, str]:
    """Name -> text of the files that a page writes; each block opens with its name."""
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    return dict(blocks)


def follow(
    files: Mapping[str, str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Write a page's files into a folder that can be imported from, for the time of a test.

    Args:
        files: As `files_of` gives them.
        folder: Where to.
        monkeypatch: The test's.
    """
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".py"):
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.syspath_prepend(folder)
    return folder
