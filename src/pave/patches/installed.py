"""Patches that installed packages bring along, by name.

A package announces them in the entry point group `pave.patches`: the name, and a function without
arguments that gives the patch's folder. pave itself has none; the embedded world's package brings
`sound-demo`, so that a first answer needs no training.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pave.errors import PatchError
from pave.registry import announced, did_you_mean

GROUP = "pave.patches"

logger = logging.getLogger(__name__)


def installed_patches() -> list[str]:
    """Names of the patches that installed packages bring, sorted; nothing is imported."""
    return sorted(announced(GROUP))


def installed_folder(name: str) -> Path | None:
    """The folder of an installed patch; None where no package brings one of that name.

    A folder of that name in the working directory is taken before it, with a warning.

    Raises:
        PatchError: If the package fails to say where the patch is.
    """
    point = announced(GROUP).get(name)
    if point is None:  # a path, most often
        return None
    # As it was before there were names; `load_base` has it the other way round for smol.
    if os.path.exists(name):
        logger.warning(
            "%s is a folder here, so the folder is loaded and not the patch of that name that "
            "is installed with %s",
            name,
            point.module,
        )
        return None
    try:
        return Path(point.load()())
    except Exception as error:  # not our code: whatever it raises becomes one clear line
        raise PatchError(
            f"the package of patch {name!r} ({point.value}) does not say where it is: {error}"
        ) from error


def names_like(name: str) -> str:
    """What else may have been meant by a name that is neither a folder nor a Hub id.

    Example:
        >>> names_like("runs/sound/patch")
        ''
    """
    if "/" in name or "\\" in name:  # a path
        return ""
    known = installed_patches()
    if not known:  # pave without the embedded world
        return ""
    hint = did_you_mean(name, known)
    return f"{hint}; installed patches: {', '.join(known)}"
