"""Which files may be read, and writing so that a crash leaves the old file or the new one.

Never half of either. A refusal names the path that the user knows, not one under a hidden name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from pave.errors import PaveError

UNFINISHED = ".writing-"
"""How files begin that are not in place yet; a left-over is of a writer that was killed."""
LEFT_OVER_SECONDS = 3600.0
"""No file takes this long to be written."""

LOCK = ".lock"
"""The file that a process holds while it works in a folder; it stays, and alone says nothing."""


_NO_FILES = {
    stat.S_ISDIR: "is a folder",
    stat.S_ISFIFO: "is a pipe",
    stat.S_ISCHR: "is a device",
    stat.S_ISBLK: "is a device",
    stat.S_ISSOCK: "is a socket",
}
# Places whose entries look like files and are answers of the kernel: some never end, some wait.
_KERNELS = ("/proc/", "/sys/")


def regular_file(path: str | Path, error: type[PaveError], needed: str = "a file") -> Path:
    """Refuse whatever is no regular file, before anything opens it.

    A pipe would wait for ever, `/dev/zero` never ends, `/proc/kmsg` does both. Links are followed.
    Every reader of a path that a user or a file names asks this first.

    Args:
        path: What is to be read.
        error: What to raise.
        needed: What the reader wants, with its article, for the message.

    Returns:
        The path.

    Raises:
        PaveError: Of the kind given, if nothing is there, it is something else than a regular file,
            or the system does not let us see.

    Example:
        >>> from pave.errors import MediaError
        >>> regular_file("/dev/zero", MediaError, "a media file")
        Traceback (most recent call last):
            ...
        pave.errors.MediaError: /dev/zero: is a device, a media file is needed here
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as why:  # ValueError: a NUL byte, or half a surrogate
        raise error(f"{path}: {_not_there(why)}") from why
    # Before anything opens it: to open a pipe is to wait for it.
    for is_kind, words in _NO_FILES.items():
        if is_kind(mode):
            raise error(f"{path}: {words}, {needed} is needed here")
    if os.path.realpath(path).startswith(_KERNELS):
        raise error(f"{path}: is an answer of the kernel and no file, {needed} is needed here")
    return Path(path)


def _not_there(why: OSError | ValueError) -> str:
    """Why the system cannot say what a path is, in words of a user."""
    if isinstance(why, ValueError):
        return "no such file; a name cannot hold this character"
    if why.errno == errno.ELOOP:
        return "is a link that leads back to itself; give the file"
    if why.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return "no such file; check the path"
    return f"cannot be read ({why.strerror}); check its permissions"


# What desktops leave in folders, besides names that begin with a dot (`._0.jpg`, `.DS_Store`).
_CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}


def is_clutter(name: str) -> bool:
    """Whether a file in somebody's folder is hidden or a desktop's own, and none of the data.

    Example:
        >>> [name for name in ("._0.jpg", "0.jpg", "Thumbs.db") if is_clutter(name)]
        ['._0.jpg', 'Thumbs.db']
    """
    return name.startswith(".") or name.lower() in _CLUTTER


def entries_of(folder: Path, pattern: str = "*") -> list[Path]:
    """What lies directly in a folder, by name, without hidden files and a desktop's own.

    Every reader that takes "all files of a folder" asks here.

    Args:
        folder: The folder.
        pattern: As for `Path.glob`.
    """
    # Sorted, because a folder lists its files in any order.
    return sorted(path for path in folder.glob(pattern) if not is_clutter(path.name))


def must_hold_files(folder: Path, error: type[PaveError]) -> None:
    """Refuse a model folder in which a pipe or a device has the name of a file.

    For readers of other libraries, which open whatever has such a name.

    Raises:
        PaveError: Of the kind given.
    """
    for file in folder.iterdir():
        if file.suffix in (".json", ".safetensors", ".bin", ".model", ".txt"):
            regular_file(file, error)


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


@contextmanager
def held_alone(
    folder: Path, error: type[PaveError], advice: str, *, part: str = ""
) -> Iterator[None]:
    """Keep other processes from working in a folder; a killed one holds it no longer.

    Args:
        folder: The folder, which is made if missing.
        error: What to raise where another process holds it.
        advice: What to do then.
        part: Hold only this part of the work in the folder; a name for files.

    Raises:
        PaveError: Of the kind given, if another process is at work in the folder.
        PlaceError: If the folder cannot be written.
    """
    make_folder(folder)
    lock = FileLock(folder / (LOCK + part))
    try:
        with writing(folder):
            lock.acquire(blocking=False)
    except Timeout as why:
        raise error(f"another process is at work in {folder}; {advice}") from why
    try:
        yield
    finally:
        lock.release()


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
        temporary = temporary_beside(file)
        try:
            write(temporary)
            # Before the rename: else a crash may leave the new name with none of the content.
            sync(temporary)
            os.replace(temporary, file)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise


def temporary_beside(file: Path, suffix: str = "") -> Path:
    """A new, empty file in the folder of another, to be renamed over it.

    Its rights are those that the umask leaves to a new file. It is the caller's to remove.

    Args:
        file: Where it will go.
        suffix: How its name must end, for writers that choose a format by it.

    Raises:
        OSError: If it cannot be made.
    """
    # In the same folder, since a rename cannot cross from one file system to another.
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix=suffix, dir=file.parent)
    os.close(handle)
    # `mkstemp` gives a file to its owner alone, which would keep a shared cache to its first
    # writer. Made anew, since to ask for the umask one must set it, which other threads would see.
    os.unlink(name)
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return Path(name)


def clear_left_overs(paths: Iterable[Path], seconds: float = LEFT_OVER_SECONDS) -> int:
    """Remove unfinished files and folders of writers that were killed.

    What has changed lately may still be written, and stays. Links are removed, never followed.

    Args:
        paths: Files and folders under a writer's hidden names.
        seconds: How long nothing in them must have changed.

    Returns:
        How many are gone.
    """
    removed = 0
    for path in paths:
        with suppress(OSError):  # somebody else was first, or it is not ours to remove
            if time.time() - _changed(path) <= seconds:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed += 1
    return removed


def _changed(path: Path) -> float:
    """When a file was last changed, or anything in a folder."""
    newest = path.lstat().st_mtime
    if path.is_symlink():
        return newest
    # `walk` follows no link below.
    for place, folders, files in os.walk(path):
        for name in folders + files:
            newest = max(newest, os.lstat(os.path.join(place, name)).st_mtime)
    return newest


def written_lines(
    file: Path, begin: bytes, error: type[PaveError], advice: str, *, mend: bool = True
) -> Iterator[tuple[int, bytes]]:
    """The complete lines of a file that a process of ours adds to, each with its number from 1.

    Args:
        file: The file.
        begin: How each of its lines begins.
        error: What to raise where the file is another one.
        advice: What is wrong then, and what to do.
        mend: At the end, take off a last line that was cut short by a kill. Never for a file that
            another process may be writing: there the rest of the line is on its way.

    Raises:
        PaveError: Of the kind given, if what is to be taken off is no such line: the file is
            somebody's own, and stays as it is.
    """
    whole = 0  # bytes
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            # Only the last line can be cut short: nothing was written after it.
            if not line.endswith(b"\n"):
                if not line.startswith(begin) and not begin.startswith(line):
                    raise error(f"{file}:{number}: {advice}")
                break
            yield number, line
            whole += len(line)
    if mend and whole < file.stat().st_size:
        os.truncate(file, whole)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks.

    Raises:
        OSError: If it cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
