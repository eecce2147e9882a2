"""Batches: which questions are answered together, decided before anything is answered.

The cut depends on the questions and their clips alone, not on what has been answered or on who
answers. So an evaluation that was interrupted, or that several processes share, answers every
question in the same company, and its results are the same also where rounding depends on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from pave.data import Record, group_by_clip


def by_length(records: Sequence[Record], features: Any) -> list[Record]:
    """Records clip by clip, clips of like length and like questions side by side.

    A batch then holds little padding.

    Args:
        records: Records.
        features: `pave.data.Features`, of which `clip(record).text` is read.
    """

    def size(members: Sequence[Record]) -> tuple[int, int]:
        """Ids of the clip's placeholder, characters of its longest question."""
        longest = max(len(record.turns[-1].question) for record in members)
        return len(features.clip(members[0]).text), longest

    # The sort is stable, so equal records give equal batches in every process.
    clips = sorted(group_by_clip(records), key=size)
    return list(chain.from_iterable(clips))


def cut(records: Sequence[Record], size: int) -> list[list[Record]]:
    """Whole clips while they fit into `size` questions; a clip with more questions is cut up."""
    batches: list[list[Record]] = []
    # Greedy, in the order given: clips of like length stay side by side.
    for members in group_by_clip(records):
        for start in range(0, len(members), size):
            piece = members[start : start + size]
            if batches and len(batches[-1]) + len(piece) <= size:
                batches[-1] += piece
            else:
                batches.append(list(piece))
    return batches
