"""A mean score with an interval over whole clips.

Questions about one clip share its difficulty, so they are not independent draws. The cluster
bootstrap (Davison & Hinkley 1997, section 3.8) resamples clips with replacement and keeps each
clip's questions together. With few clips it is too sure of itself: without any difference it
excludes 0 in 10 to 13 of 100 experiments with 5 to 7 clips, in 7 with 12. There the interval is the
set of means that a sign-flip test does not reject (Hartigan 1969, "Using subsample values as
typical values"), which is exact for differences of two arms and agrees with the p-value beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from pave.arguments import as_whole

FEW = 20
"""Clips from which on resampling is trusted; below, all subsets of the clips are counted."""
MARKED = 10
"""Clips below which a table marks an interval: no claim should rest on so few."""
# Resamples drawn at a time: keeps the count matrix at a few MB for thousands of clips.
_CHUNK = 1000


def check_draws(resamples: int, seed: int) -> None:
    """Refuse numbers that no interval can be drawn with, before anything is read.

    Raises:
        ConfigError: If there are too few draws for an interval, or more than end, or the seed is
            negative.
    """
    as_whole(resamples, "resamples", least=100, most=10**7)
    as_whole(seed, "seed", most=sys.maxsize)


def mean_bootstrap(
    scores: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of a mean score over clusters (clips).

    From 20 clusters on they are resampled with replacement, and the interval holds the middle
    `level` of the draws. Below, it inverts a sign-flip test: its ends are quantiles of the means of
    all subsets of the clusters, and no draw is made. Unlike Wilson's interval it takes scores of
    any size (CIDEr goes to 10) and respects that questions about one clip hang together.

    Args:
        scores: One a question.
        clusters: The clip of each question.
        resamples: Number of bootstrap draws.
        level: Coverage of the interval.
        seed: Seed of the draws; the same input and seed give the same interval.

    Returns:
        Lower and upper end. None where the data hold none: with fewer than six clips no sign-flip
        test rejects anything at 0.95, and of fewer than twenty clips with one and the same mean
        nothing says how others would differ; an interval of length zero would be a lie.

    Raises:
        ValueError: If the sequences differ in length or are empty.

    Example:
        >>> mean_bootstrap([1, 0, 0, 1, 0, 0, 0], list("abcdefg"))
        (0.0, 1.0)
        >>> mean_bootstrap([1, 0, 1, 1], ["v1", "v1", "v2", "v3"]) is None
        True
    """
    if len(scores) != len(clusters) or not len(scores):
        raise ValueError(
            f"scores and clusters must have the same length of at least 1, got {len(scores)} and "
            f"{len(clusters)}"
        )
    sums, sizes = per_cluster(np.asarray(scores, np.float64), clusters)
    if len(sums) < FEW:
        return _of_all_subsets(sums, sizes, level)
    means = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    # The middle `level` of the draws: 2.5 % of them lie below the interval, 2.5 % above.
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_bootstrap(
    part: Sequence[float],
    rest: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of |mean part| / (|mean part| + |mean rest|), both drawn over the same clusters.

    Args:
        part: One a question.
        rest: One a question.
        clusters: The clip of each question.
        resamples: Number of bootstrap draws.
        level: Coverage of the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper end. None below 20 clusters, where draws are too sure of themselves and a
        share has no sign to flip, and where both means of a draw are 0.

    Example:
        >>> share_bootstrap([1.0] * 30, [3.0] * 30, range(30))
        (0.25, 0.25)
    """
    sizes_of_means = []
    for scores in (part, rest):
        sums, sizes = per_cluster(np.asarray(scores, np.float64), clusters)
        if len(sums) < FEW:
            return None
        # The same seed draws the same clusters for both.
        means = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
        sizes_of_means.append(np.abs(means))
    own, other = sizes_of_means  # [resamples] each
    whole = own + other
    if not whole.all():  # a draw in which nothing has an effect has no share
        return None
    low, high = np.quantile(own / whole, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _of_all_subsets(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], level: float
) -> tuple[float, float] | None:
    """The means that a sign-flip test of all clusters does not reject.

    Against a mean m below the observed one, the sign patterns that reach the observed sum are those
    that flip a subset of clusters whose own mean is at most m, and their mirror images. So m is
    rejected while fewer than (1 - level) / 2 of the 2^k subsets, the empty one included, lie there.
    """
    total, size = np.zeros(1), np.zeros(1)
    for own, number in zip(sums, sizes, strict=True):  # [2^k] subsets in the end
        total = np.concatenate([total, total + own])
        size = np.concatenate([size, size + number])
    means = total[1:] / size[1:]  # without the empty one
    # The small allowance makes a whole number of subsets whole also after rounding.
    rank = int((1 - level) / 2 * len(total) + 1e-9)
    spread = np.ptp(sums / sizes)
    if rank == 0 or spread <= 1e-12 * max(1.0, float(np.abs(means).max())):
        return None
    # Two places of half a million are wanted in order, not all of them.
    ends = rank - 1, len(means) - rank
    ordered = np.partition(means, ends)
    return float(ordered[ends[0]]), float(ordered[ends[1]])


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
