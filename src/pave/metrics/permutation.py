"""How likely a difference of two arms is if neither is better: a paired permutation test."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from pave.metrics.bootstrap import per_cluster

_CHUNK = 1000


def paired_permutation(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of mean(a) - mean(b), swapping the arms clip by clip (Fisher's test).

    If the arms were equally good, the sign of every clip's difference would be a coin toss. All 2^k
    sign patterns of k clips are counted where there are no more than `resamples`; otherwise so many
    are drawn, and the p-value is never below 1 / (resamples + 1).

    Args:
        a: Scores of arm a, one a question.
        b: Scores of arm b on the same questions.
        clusters: The clip of each question.
        resamples: Sign patterns drawn.
        seed: Seed of the draws.

    Raises:
        ValueError: If the three sequences differ in length or are empty.

    Example:
        >>> paired_permutation([1, 1, 1, 1], [0, 0, 0, 0], ["v1", "v2", "v3", "v4"])
        0.125
    """
    if not len(a) == len(b) == len(clusters) or not len(a):
        raise ValueError(
            f"a, b and clusters must have the same length of at least 1, got {len(a)}, {len(b)} "
            f"and {len(clusters)}"
        )
    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    sums, _ = per_cluster(gaps, clusters)
    # The number of questions is the same for every pattern, so sums can stand for means. The small
    # allowance makes a tie a tie also after rounding.
    observed = float(abs(sums.sum()) - 1e-9 * np.abs(sums).sum())
    if 2 ** len(sums) <= resamples:
        return _of_all_patterns(sums, observed)
    return _of_drawn_patterns(sums, observed, resamples, seed)


def _of_all_patterns(sums: NDArray[np.float64], observed: float) -> float:
    """The share of all sign patterns that reach what was observed."""
    count = len(sums)
    numbers = np.arange(2**count)[:, None]
    bits = numbers >> np.arange(count) & 1  # [patterns, clusters], 0 or 1
    totals = (2 * bits - 1) @ sums  # [patterns]
    return float((np.abs(totals) >= observed).mean())


def _of_drawn_patterns(
    sums: NDArray[np.float64], observed: float, resamples: int, seed: int
) -> float:
    """The same from a sample of the patterns.

    The observed one counts as drawn too (Phipson & Smyth 2010): a p-value of zero would claim more
    than a sample can show.
    """
    rng = np.random.default_rng(seed)
    reached = 0
    for start in range(0, resamples, _CHUNK):
        draws = min(_CHUNK, resamples - start)
        signs = rng.integers(0, 2, (draws, len(sums))) * 2 - 1  # [draws, clusters], -1 or 1
        reached += int((np.abs(signs @ sums) >= observed).sum())
    return (1 + reached) / (1 + resamples)
