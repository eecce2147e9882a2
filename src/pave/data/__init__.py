"""Records, the cached features of their clips, and the sequences made of both.

Example:
    >>> from pave.data import read_records, group_by_clip
    >>> groups = group_by_clip(read_records("train.jsonl"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.data.record import Record, Turn, clip_key
from pave.data.records import (
    group_by_clip,
    missing_media,
    open_records,
    read_records,
    write_records,
)
from pave.data.sources import register_reader
from pave.data.store import Records
from pave.lazy import lazy_names

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
    "Records",
    "Turn",
    "clip_key",
    "group_by_clip",
    "missing_media",
    "open_records",
    "pack",
    "positions_and_mask",
    "read_records",
    "register_reader",
    "targets",
    "write_records",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
