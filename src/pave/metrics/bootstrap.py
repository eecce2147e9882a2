"""A mean score with an interval from resampling whole clips.

Questions about one clip share its difficulty, so they are not independent draws. The cluster
bootstrap (Davison & Hinkley 1997, section 3.8) resamples clips with replacement and keeps each
clip's questions together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from pave.errors import ConfigError

# Resamples drawn at a time: keeps the count matrix at a few MB for thousands of clips.
_CHUNK = 1000


def check_draws(resamples: int, seed: int) -> None:
    """Refuse numbers that no interval can be drawn with, before anything is read.

    Raises:
        ConfigError: If there are too few draws for an interval, or more than end, or the seed is
            negative.
    """
    if not 100 <= resamples <= 10**7:
        raise ConfigError(f"resamples must be 100 to 10,000,000, got {resamples}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")


def mean_bootstrap(
    scores: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile interval of a mean score, resampling clusters (clips) with replacement.

    Unlike Wilson's interval it takes scores of any size (CIDEr goes to 10) and respects that
    questions about one clip hang together.

    Args:
        scores: One a question.
        clusters: The clip of each question.
        resamples: Number of bootstrap draws.
        level: Coverage of the interval.
        seed: Seed of the draws; the same input and seed give the same interval.

    Returns:
        Lower and upper end, or None with fewer than two clips: nothing can be resampled then, and
        an interval of length zero would be a lie.

    Raises:
        ValueError: If the sequences differ in length or are empty.

    Example:
        >>> low, high = mean_bootstrap([1, 0, 1, 1], ["v1", "v1", "v2", "v3"])
        >>> low <= 0.75 <= high
        True
    """
    if len(scores) != len(clusters) or not len(scores):
        raise ValueError(
            f"need two sequences of one non-zero length, got {len(scores)} and {len(clusters)}"
        )
    sums, sizes = per_cluster(np.asarray(scores, np.float64), clusters)
    if len(sums) < 2:
        return None
    means = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    # The middle `level` of the draws: 2.5 % of them lie below the interval, 2.5 % above.
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def per_cluster(
    scores: NDArray[np.float64], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the scores and number of questions of each cluster, both `[clusters]`.

    Clusters stand in order of first appearance, so that a seed means something whatever they are
    called.
    """
    index: dict[Hashable, int] = {}
    labels = np.array(
        [index.setdefault(cluster, len(index)) for cluster in clusters]
    )  # [questions]
    sums = np.bincount(labels, weights=scores).astype(np.float64)
    sizes = np.bincount(labels).astype(np.float64)
    return sums, sizes


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`[resamples]` means of as many clusters as there are, drawn with replacement."""
    count = len(sums)
    evenly = np.full(count, 1 / count)
    means = []
    for start in range(0, resamples, _CHUNK):
        draws = min(_CHUNK, resamples - start)
        # How often each cluster falls into a draw is multinomial, so a draw is two dot products.
        times = rng.multinomial(count, evenly, size=draws)  # [draws, clusters]
        # Clusters differ in size, so the number of questions of a draw is random as well.
        means.append((times @ sums) / (times @ sizes))
    return np.concatenate(means)
