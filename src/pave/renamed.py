"""Old names of settings, fields and flags: still read, said in one line, never written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


def renamed(values: Any, names: Mapping[str, str], where: str) -> Any:
    """The same mapping with every old name replaced by the present one.

    Meant for a pydantic `model_validator(mode="before")`, so that files written by an older pave
    still load.

    Args:
        values: What was given; anything that is no mapping comes back as it is.
        names: Old name -> present name.
        where: What holds them, for the log line, e.g. "patch.json".

    Raises:
        ValueError: If a file gives both names of one thing.

    Example:
        >>> renamed({"store": "tokens", "steps": 3}, {"store": "cache"}, "settings")
        {'steps': 3, 'cache': 'tokens'}
    """
    if not isinstance(values, Mapping):
        return values  # pydantic says what is wrong with it
    found = dict(values)  # the caller's own stays as it is
    for old, new in names.items():
        if old not in found:
            continue
        # ValueError, which pydantic turns into a complaint about this field.
        if new in found:
            raise ValueError(f"{old} is the old name of {new}; leave one of them out")
        found[new] = found.pop(old)
        logger.info("%s: %s is called %s now", where, old, new)
    return found
