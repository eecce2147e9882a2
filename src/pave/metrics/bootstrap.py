"""A mean, or the difference of two arms on the same questions, with an interval from resampling whole clips.

Questions about one clip share its difficulty, so they are not independent draws. The cluster
bootstrap (Davison & Hinkley 1997, section 3.8) resamples clips with replacement and keeps each
clip's questions together; pairing the arms question by question removes the variance they share.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pave.errors import ConfigError

_CHUNK = (
    1000  # resamples drawn at a time: keeps the count matrix at a few MB for thousands of clips
)


@dataclass(frozen=True)
class Paired:
    """Mean difference of two arms and its interval, as fractions in [-1, 1].

    Attributes:
        difference: mean(a) - mean(b) over all questions.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


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


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Percentile interval of mean(a) - mean(b), resampling clusters (clips) with replacement.

    Args:
        a: Scores of arm a in [0, 1], one a question.
        b: Scores of arm b on the same questions in the same order.
        clusters: The clip of each question.
        resamples: Number of bootstrap draws.
        level: Coverage of the interval.
        seed: Seed of the draws; the same input and seed give the same interval.

    Returns:
        The difference and its interval. With fewer than two clips nothing can be resampled, and the
        interval is the widest possible one, [-1, 1], rather than one of length zero.

    Raises:
        ValueError: If the three sequences differ in length or are empty.

    Example:
        >>> paired_bootstrap([1, 1, 0, 1], [0, 1, 0, 0], ["v1", "v1", "v2", "v3"]).difference
        0.5
    """
    if not len(a) == len(b) == len(clusters) or not len(a):
        raise ValueError(
            f"need three sequences of one non-zero length, got {len(a)}, {len(b)} and "
            f"{len(clusters)}"
        )
    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    sums, sizes = per_cluster(gaps, clusters)
    difference = float(gaps.mean())
    if len(sums) < 2:
        return Paired(difference, -1.0, 1.0)
    means = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Paired(difference, float(low), float(high))


def mean_bootstrap(
    scores: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a mean score, resampling clusters (clips) with replacement.

    Unlike Wilson's interval it takes scores of any size (CIDEr goes to 10) and respects that
    questions about one clip hang together.

    Args:
        scores: One a question.
        clusters: The clip of each question.
        resamples: Number of bootstrap draws.
        level: Coverage of the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper end. With fewer than two clips nothing can be resampled: (-inf, inf).

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
        return -np.inf, np.inf
    means = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def per_cluster(
    gaps: NDArray[np.float64], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the gaps and number of questions of each cluster, in order of first appearance (so a seed means something)."""
    index: dict[Hashable, int] = {}
    labels = np.array([index.setdefault(cluster, len(index)) for cluster in clusters])
    return np.bincount(labels, weights=gaps).astype(np.float64), np.bincount(labels).astype(
        np.float64
    )


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`[resamples]` means. How often each cluster falls into a draw is multinomial, so a draw is two dot products."""
    count = len(sums)
    means = []
    for start in range(0, resamples, _CHUNK):
        times = rng.multinomial(
            count, np.full(count, 1 / count), size=min(_CHUNK, resamples - start)
        )
        means.append((times @ sums) / (times @ sizes))
    return np.concatenate(means)
