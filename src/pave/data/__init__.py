"""Records, the cached features of their clips, and the sequences made of both.

Example:
    >>> from pave.data import read_records, group_by_clip
    >>> groups = group_by_clip(read_records("train.jsonl"))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pave.data.records import (
    Record,
    Turn,
    clip_key,
    group_by_clip,
    missing_media,
    read_records,
    write_records,
)

if TYPE_CHECKING:
    from pave.data.features import ClipFeatures, Features, PrecomputeReport
    from pave.data.packing import Packed, pack, positions_and_mask, targets

_FEATURES, _PACKING = "pave.data.features", "pave.data.packing"
_HOMES = dict.fromkeys(("ClipFeatures", "Features", "PrecomputeReport"), _FEATURES)
_HOMES |= dict.fromkeys(("Packed", "pack", "positions_and_mask", "targets"), _PACKING)

__all__ = [
    "ClipFeatures",
    "Features",
    "Packed",
    "PrecomputeReport",
    "Record",
    "Turn",
    "clip_key",
    "group_by_clip",
    "missing_media",
    "pack",
    "positions_and_mask",
    "read_records",
    "targets",
    "write_records",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that reading records (and scoring answers to them) does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pave.data' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
