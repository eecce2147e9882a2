"""Writing so that a crash leaves the old file or the new one, never half of either.

A refusal names the path that the user knows, not one under a hidden name.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pave.errors import PaveError

UNFINISHED = ".writing-"
"""How files begin that are not in place yet; a left-over is of a writer that was killed."""


class PlaceError(OSError):
    """What the system says of a place that cannot be written; `filename` is the user's path to it.

    No `PaveError`: whoever passes over a clip that a user could mend must not pass over a full
    disk.
    """


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """What the system refuses in here is said of `place`, not of a file under a hidden name.

    Raises:
        PlaceError: In place of an `OSError`, or of what safetensors makes of one.
    """
    try:
        yield
    except PlaceError:  # named already
        raise
    except (OSError, SafetensorError) as error:
        number, text = _refusal(error)
        if number is None:  # tensors that safetensors cannot write: no matter of the place
            raise
        raise PlaceError(number, text + _in_the_way(error, place), str(place)) from error


def _refusal(error: OSError | SafetensorError) -> tuple[int | None, str]:
    """The system's number and words; safetensors hides the number in a text of its own."""
    if isinstance(error, OSError):
        return error.errno, error.strerror or str(error)
    found = re.search(r"\(os error (\d+)\)", str(error))  # as Rust writes the system's errors
    if found is None:
        return None, ""
    number = int(found[1])
    return number, os.strerror(number)


def _in_the_way(error: OSError | SafetensorError, place: Path) -> str:
    """Which folder above the place was refused, where it was one."""
    name = getattr(error, "filename", None)
    # The file itself is named already, and a hidden name beside it would puzzle the user.
    if isinstance(name, str) and Path(name) in place.parents:
        return f": {name}"
    return ""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        PlaceError: If that cannot be done.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def read_object(file: Path, error: type[PaveError], advice: str) -> dict[str, Any]:
    """A JSON object that pave itself wrote, and that something else may have damaged.

    Args:
        file: The file.
        error: What to raise where it is damaged.
        advice: What to do then.

    Raises:
        PaveError: Of the kind given, if it is no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    # A few thousand brackets in a row end in a RecursionError.
    except (OSError, ValueError, RecursionError) as why:
        raise error(f"{file} is damaged ({' '.join(str(why).split())}); {advice}") from why
    if not isinstance(found, dict):
        raise error(
            f"{file} is damaged (a JSON object is wanted, not {type(found).__name__}); {advice}"
        )
    return found


def write_atomically(file: Path, data: bytes) -> None:
    """Write under a name of our own, force it to disk, then rename.

    Readers see the whole file or none, also after a crash.
    """
    replace_atomically(file, lambda temporary: temporary.write_bytes(data))


def write_text_atomically(file: Path, text: str) -> None:
    """The same for UTF-8 text."""
    write_atomically(file, text.encode())


def replace_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """As `write_atomically`, for content that something else writes.

    Args:
        file: The file to make or replace; its folder is made if missing.
        write: Called with the path to write to.

    Raises:
        PlaceError: If the file cannot be written; it names the file.
    """
    with writing(file):
        if file.exists() and not file.is_file() and not file.is_dir():
            # A device or a pipe, such as /dev/stdout, takes what comes, and must not be replaced.
            write(file)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, since a rename cannot cross from one file system to another.
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=file.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            # Before the rename: else a crash may leave the new name with none of the content.
            sync(temporary)
            temporary.chmod(0o644)  # mkstemp's 0600 would keep a shared cache to its first writer
            os.replace(temporary, file)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
