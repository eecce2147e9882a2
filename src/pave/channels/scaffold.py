"""`write_package`: a tiny package with a channel of one's own that works as written.

It holds an encoder, its test, a recipe and a toy task.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from pave.channels.registry import list_encoders
from pave.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_PLACEHOLDER = "@NAME@"
# Template -> where it goes. Kept as text, so that no tool takes a template for code of pave.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "readme.md": "README.md",
    "recipe.yaml.txt": "recipe.yaml",
    "toy.txt": "toy.py",
    "init.txt": "src/pave_@NAME@/__init__.py",
    "encoder.txt": "src/pave_@NAME@/encoder.py",
    "test.txt": "tests/test_encoder.py",
}


def write_package(name: str, folder: Path | None = None) -> Path:
    """Write the package of a new channel.

    Args:
        name: The channel: a small letter, then small letters, digits and `_`.
        folder: Where to; new or empty. `pave-NAME` in the current folder when not given.

    Returns:
        The folder.

    Raises:
        ConfigError: If the name is none, belongs to a channel that exists, or the folder holds
            something.

    Example:
        >>> write_package("heart")  # doctest: +SKIP
        PosixPath('pave-heart')
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a channel; use lower-case letters, digits and _, beginning "
            "with a letter"
        )
    if name in {channel for channel, _ in list_encoders()}:
        raise ConfigError(
            f"the channel {name!r} already exists; choose another name, or register an encoder "
            "for it"
        )
    target = folder or Path(f"pave-{name}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists and is not empty; choose another folder")
    templates = files("pave.channels") / "template"
    for template, place in _FILES.items():
        file = target / place.replace(_PLACEHOLDER, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (templates / template).read_text(encoding="utf-8")
        file.write_text(text.replace(_PLACEHOLDER, name), encoding="utf-8")
    return target
