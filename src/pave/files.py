"""Writing so that a crash leaves the old file or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

UNFINISHED = ".writing-"
"""How files begin that are not in place yet; one that is left over belongs to a writer that was killed."""


def write_atomically(file: Path, data: bytes) -> None:
    """Write under a name of our own, force it to disk, then rename: readers see the whole file or none, also after a crash."""
    replace_atomically(file, lambda temporary: temporary.write_bytes(data))


def write_text_atomically(file: Path, text: str) -> None:
    """The same for UTF-8 text."""
    write_atomically(file, text.encode())


def replace_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """As `write_atomically`, for content that something else writes.

    Args:
        file: The file to make or replace; its folder is made if missing.
        write: Called with the path to write to.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=file.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        sync(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
