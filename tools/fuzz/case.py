"""What a sound input is made of, and what reads it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.cli import main
from pave.errors import PaveError
from pave.files import PlaceError


@dataclass(frozen=True)
class Case:
    """A kind of input.

    Attributes:
        name: `group/name`.
        build: Makes a sound one in a folder, always the same.
        read: Reads it, as pave's own verbs do; raises a `PaveError` where it is refused.
        damaged: Patterns of the files that are changed.
        ready: Called once before the first, in the parent: what it loads is there in every child.
        sealed: Whether hashes keep most damage out; every second time they are made right again.
    """

    name: str
    build: Callable[[Path], object]
    read: Callable[[Path], object]
    damaged: tuple[str, ...] = ("**/*",)
    ready: Callable[[], object] = tuple
    sealed: bool = False

    @property
    def group(self) -> str:
        """The first part of its name."""
        return self.name.partition("/")[0]

    def files(self, folder: Path) -> list[Path]:
        """The files that may be changed, in an order that does not depend on the disk."""
        found: set[Path] = set()
        for pattern in self.damaged:
            found.update(path for path in folder.glob(pattern) if path.is_file())
        return sorted(found)


def all_of(*calls: Callable[[], Any]) -> None:
    """Make every call, whatever the others are refused; the first refusal is raised at the end."""
    first: Exception | None = None
    for call in calls:
        try:
            call()
        except (PaveError, PlaceError) as error:
            first = first or error
    if first is not None:
        raise first


_RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def tell(*words: object) -> None:
    """Run a verb of the command line, and look at what it prints.

    Raises:
        AssertionError: If it calls itself at fault, or a control character reaches the terminal.
    """
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(out), redirect_stderr(out):
        code = main([*map(str, words), "--debug"])
    out.flush()
    text = out.buffer.getvalue().decode()
    if code not in (0, 2):
        raise AssertionError(f"exit {code}: {text[-3000:]}")
    if found := _RAW.search(text):
        raise AssertionError(f"prints {found[0]!r}: {text[:3000]!r}")


def exhaust(items: Iterable[Any], most: int = 50) -> None:
    """Take what a generator gives, up to a number of items."""
    for _, number in zip(items, range(most), strict=False):
        if number + 1 == most:
            return
