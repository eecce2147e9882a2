"""What patches are called: which names may be given, and which patch a name means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import nn

from pave.errors import PatchError
from pave.patches.patch import Patch

# A name of modules and folders, a word of the command line, and no longer than a file name may be.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


def default_name(source: str | Path, folder: Path) -> str:
    """What to call a loaded patch: the last part of its Hub id or path.

    Dots become dashes, because the names of modules cannot hold them.
    """
    last = folder.resolve().name
    if folder != Path(source):  # a Hub id: the folder is somewhere in the cache
        last = str(source).rpartition("/")[2]
    return last.replace(".", "-")


def free_name(name: str, channels: Collection[str], patches: Mapping[str, Patch]) -> str:
    """A new patch's name, if it may be called so.

    Tokens are given by a patch's name or by its channel, so neither may mean two things.

    Args:
        name: What it is to be called.
        channels: Its channels, if any.
        patches: Patches on the base.

    Raises:
        PatchError: If the name is taken or invalid, or one patch's name would be another's channel.
    """
    if not isinstance(name, str):
        raise PatchError(f"the name of a patch must be a string, got {name!r}")
    if name in patches:  # a patch is never replaced silently
        raise PatchError(f"there is already a patch '{name}'; give the new one another name")
    for other in patches.values():
        if not channels or not other.parts:
            continue
        # A patch may have the name of a channel that both listen to.
        mine, theirs = set(channels) - other.parts.keys(), other.parts.keys() - set(channels)
        if name in theirs or other.name in mine:
            raise PatchError(
                f"patch '{name}' of channel {_quoted(channels)} and patch '{other.name}' of "
                f"channel {_quoted(other.parts)} cannot be told apart; give the new one a name "
                "that is not a channel"
            )
    # A ModuleDict takes no key that hides one of its own methods.
    if not _NAME.fullmatch(name) or hasattr(nn.ModuleDict(), name):
        raise PatchError(
            f"{name!r} cannot name a patch; use letters, digits, _ and -, and no Python-reserved "
            "word such as 'keys'"
        )
    return name


def _quoted(channels: Collection[str]) -> str:
    return " and ".join(map(repr, channels))


def known_name(name: str | None, known: Collection[str]) -> str:
    """The name of a patch that exists; without a name, the only one.

    Raises:
        PatchError: If there is no such patch, or several and none is named.
    """
    if isinstance(name, str) and name in known:
        return name
    if name is None and len(known) == 1:  # nothing else can be meant
        return next(iter(known))
    which = "name the patch"
    if name is not None:
        which = f"there is no patch {name!r}"
    raise PatchError(f"{which}; loaded patches: {', '.join(known) or 'none'}")
