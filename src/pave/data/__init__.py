"""Records, the cached features of their clips, and the sequences made of both.

Example:
    >>> from pave.data import read_records, group_by_clip
    >>> groups = group_by_clip(read_records("train.jsonl"))  # doctest: +SKIP
"""

from pave.data.features import ClipFeatures, Features, PrecomputeReport
from pave.data.packing import Packed, pack, positions_and_mask, targets
from pave.data.records import Record, Turn, clip_key, group_by_clip, missing_media, read_records, write_records

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
