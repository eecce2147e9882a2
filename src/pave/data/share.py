"""A share of a work that several processes do, written as "2/8": the second part of eight."""

from __future__ import annotations

import re

_SHARE = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")


def share_of(text: str | None) -> tuple[int, int]:
    """(number of the part counted from 0, number of parts); all of it where nothing is given.

    Raises:
        ValueError: If the text is no such share.

    Example:
        >>> share_of("2/8")
        (1, 8)
    """
    if text is None:
        return (0, 1)
    match = _SHARE.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f"shard must be like 2/8, from 1/8 to 8/8, got {text!r}")
    return int(match[1]) - 1, int(match[2])
