"""What a model could guess that knows some cue and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable


def best_guess(rows: Iterable[tuple[Hashable, str]]) -> float:
    """Accuracy of the best fixed answer for every cue: what the cue alone is worth."""
    by_cue: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for cue, answer in rows:
        by_cue[cue][answer] += 1
    return sum(max(counts.values()) for counts in by_cue.values()) / sum(
        counts.total() for counts in by_cue.values()
    )
