"""Batches: which questions are answered together, decided before anything is answered.

The cut depends on the questions and their clips alone, not on what has been answered or on who
answers. So an evaluation that was interrupted, or that several processes share, answers every
question in the same company, and its results are the same also where rounding depends on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pave.evaluate.items import Item


def by_clip(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items of each clip, both in order of first appearance."""
    clips: dict[str, list[Item]] = {}
    for item in items:
        clips.setdefault(item.clip, []).append(item)
    return clips


def by_length(items: Sequence[Item], features: Any) -> list[Item]:
    """Items clip by clip, clips of like length and like questions side by side, so that a batch holds little padding.

    Args:
        items: Items.
        features: `pave.data.Features`, of which `clip(record).text` is read.
    """
    clips = by_clip(items)
    sizes = {
        clip: (
            len(features.clip(members[0].record).text),
            max(len(item.question) for item in members),
        )
        for clip, members in clips.items()
    }
    return [item for clip in sorted(clips, key=sizes.__getitem__) for item in clips[clip]]


def cut(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Whole clips while they fit into `size` questions; a clip with more questions than that is cut up."""
    pieces = [
        members[start : start + size]
        for members in by_clip(items).values()
        for start in range(0, len(members), size)
    ]
    batches: list[list[Item]] = []
    for piece in pieces:
        if batches and len(batches[-1]) + len(piece) <= size:
            batches[-1] += piece
        else:
            batches.append(list(piece))
    return batches
