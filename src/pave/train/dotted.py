"""Settings within blocks by dotted names, such as `lora.rank`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def dotted(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """All settings of nested blocks by their dotted names; an empty block is a setting.

    Args:
        values: The settings.
        before: What every name begins with.

    Example:
        >>> dotted({"steps": 3, "lora": {"rank": 8, "rank_pattern": {}}})
        {'steps': 3, 'lora.rank': 8, 'lora.rank_pattern': {}}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= dotted(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def put(values: dict[str, Any], name: str, value: Any) -> None:
    """Put a value at a dotted name, making the blocks on the way.

    Example:
        >>> settings = {"lora": {"alpha": 16}}
        >>> put(settings, "lora.rank", 8)
        >>> settings
        {'lora': {'alpha': 16, 'rank': 8}}
    """
    *blocks, last = name.split(".")
    for block in blocks:
        inner = values.get(block)
        # A copy, so that the caller's own mapping stays as it is.
        values[block] = dict(inner) if isinstance(inner, dict) else {}
        values = values[block]
    values[last] = value
