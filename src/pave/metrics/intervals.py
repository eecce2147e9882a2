"""The interval of one accuracy: Wilson's score interval.

It behaves at 0 % and 100 %, where the textbook interval collapses to a point.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), as fractions in [0, 1].

    It treats the questions as independent. Several questions about one clip are not quite, so for
    the difference of two arms, which carries the claim, use `paired`, which resamples whole clips.

    Args:
        correct: Number of correct answers.
        total: Number of questions; 0 gives the interval that knows nothing, (0, 1).
        level: Coverage, 0.95 by default.

    Returns:
        Lower and upper end; always contains `correct / total`.

    Raises:
        ValueError: If `correct` is not between 0 and `total`, or `level` not between 0 and 1.

    Example:
        >>> [round(end, 3) for end in wilson(8, 10)]
        [0.49, 0.943]
    """
    if not 0 <= correct <= total or not 0 < level < 1:
        raise ValueError(
            f"need 0 <= correct <= total and 0 < level < 1, got {correct} of {total} at level "
            f"{level}"
        )
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)  # 1.96 standard deviations for 95 %
    share = correct / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    # Rounding may put an end a hair beyond the share itself, or beyond 0 or 1.
    low = max(0.0, min(centre - half, share))
    high = min(1.0, max(centre + half, share))
    return low, high
