"""One damaged copy of a sound input: which file is changed, and how, follows from chance alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

from bytes_edits import EDITS as BYTE_EDITS
from bytes_edits import Edit
from container_edits import (
    boxes,
    edit_chunks,
    edit_npy,
    edit_png,
    edit_safetensors,
    edit_zip,
    jpeg_segments,
    riff_chunks,
)
from text_edits import JSON_EDITS, TEXT_EDITS, YAML_EDITS

_edit_boxes, _edit_riff = edit_chunks(boxes), edit_chunks(riff_chunks)
BY_ENDING: dict[str, tuple[Edit, ...]] = {
    ".json": JSON_EDITS,
    ".jsonl": JSON_EDITS,
    ".yaml": YAML_EDITS,
    ".txt": TEXT_EDITS,
    ".npy": (edit_npy,),
    ".npz": (edit_zip,),
    ".pt": (edit_zip,),
    ".pth": (edit_zip,),
    ".bin": (edit_zip,),
    ".safetensors": (edit_safetensors,),
    ".png": (edit_png,),
    ".jpg": (edit_chunks(jpeg_segments),),
    ".mp4": (_edit_boxes,),
    ".mov": (_edit_boxes,),
    ".m4a": (_edit_boxes,),
    ".wav": (_edit_riff,),
    ".avi": (_edit_riff,),
    ".webp": (_edit_riff,),
}
"""Edits that know a format; those of plain bytes go with every file."""

ODD_NAMES = (
    "%d.png", "-rf.jpg", "._0.png", ".hidden", "a\nb.png", "\x1b[31m.jpg", "1" * 60 + ".png",
    "٣.png", "²-7.jpg", "0.PNG", "0", "x.mp4", "Thumbs.db",
    b"\xff\xfe.png".decode(errors="surrogateescape"),
)  # fmt: skip
"""Names that a folder may hold whatever they say."""


def damage(folder: Path, files: list[Path], chance: random.Random) -> str:
    """Change some files of a folder.

    Args:
        folder: A copy that may be changed.
        files: The files in it that are to be read.
        chance: Decides everything.

    Returns:
        What was done, for people.
    """
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        file = chance.choice(files)
        if chance.random() < 0.06:
            done.append(_replace(file, chance))
        elif len(files) > 3 and chance.random() < 0.08:
            done.append(_add(file, chance))
        elif is_plain(file):
            done.append(_edit(file, chance))
    return ", ".join(done) or f"nothing in {folder.name}"


def _edit(file: Path, chance: random.Random) -> str:
    """Change what a file holds."""
    known = BY_ENDING.get(file.suffix.lower(), ())
    # Two of three times by what is known of the format, where anything is.
    edit = chance.choice(known if known and chance.random() < 0.67 else BYTE_EDITS)
    file.write_bytes(edit(file.read_bytes(), chance))
    return f"{edit.__name__} {file.name!r}"


def _replace(file: Path, chance: random.Random) -> str:
    """Put something else than a file in its place."""
    kind = chance.choice(("nothing", "folder", "pipe", "loop", "zero", "kernel", "dangling"))
    if file.is_dir() and not file.is_symlink():
        return "nothing"
    file.unlink(missing_ok=True)
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)  # to open it is to wait for ever
    elif kind != "nothing":
        targets = {"loop": file.name, "zero": "/dev/zero", "kernel": "/proc/kmsg"}
        file.symlink_to(targets.get(kind, "nowhere"))
    return f"{kind} for {file.name!r}"


def _add(file: Path, chance: random.Random) -> str:
    """Put a file with an odd name beside it, of its own content or of none."""
    name = chance.choice(ODD_NAMES)
    other = file.with_name(name)
    if os.path.lexists(other) or not is_plain(file):
        return "nothing"
    other.write_bytes(chance.choice((b"", file.read_bytes(), b"\0\5\x16\7")))
    return f"added {name!r}"


def rehash(folder: Path) -> None:
    """Make the hashes of a patch folder agree with its files again, as whoever made it would."""
    manifest = folder / "patch.json"
    try:
        content = json.loads(_content(manifest))
        for name in content["files"]:
            found = hashlib.sha256(_content(folder / name)).hexdigest()
            content["files"][name] = found
        manifest.write_text(json.dumps(content))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return  # too damaged to be made right


def is_plain(file: Path) -> bool:
    """Whether a path is a file of a disk, and no link to something else.

    All that the parent opens is asked for here: it has no limits, and `/dev/zero` never ends. To
    the system `/proc/kmsg` is a regular file, and whoever reads it waits.
    """
    if file.is_symlink() or not file.is_file():
        return False
    # A damaged manifest may name any place.
    return not os.path.realpath(file).startswith(("/proc/", "/sys/", "/dev/"))


def _content(file: Path) -> bytes:
    """What a file holds."""
    if not is_plain(file):
        raise OSError(f"{file} is no regular file")
    return file.read_bytes()
