"""The difference of two arms on the same questions: what every comparison reports.

Pairing the arms question by question removes the variance that they share: a hard clip is hard for
both. What is left has an interval over whole clips (`mean_bootstrap`), and signs are
swapped by whole clips (`paired_permutation`) for the p-value.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pave.metrics.bootstrap import mean_bootstrap
from pave.metrics.permutation import paired_permutation


@dataclass(frozen=True)
class Paired:
    """a minus b on the same questions; scores are fractions.

    Attributes:
        n: Questions.
        clusters: Clips.
        a: Mean of a.
        b: Mean of b.
        difference: a - b.
        ci95: Its interval over clips; None for fewer than six, which hold none.
        p: Two-sided p-value of a permutation test over clips.
    """

    n: int
    clusters: int
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        if self.ci95 is None:
            return False
        low, high = self.ci95
        return low > 0 or high < 0


def paired(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Paired:
    """Compare two arms that answered the same questions.

    Args:
        a: Scores of arm a, one a question.
        b: Scores of arm b on the same questions in the same order.
        clusters: The clip of each question.
        resamples: Draws of the bootstrap, and sign patterns of the permutation test.
        seed: Seed of both; the same input and seed give the same numbers.

    Raises:
        ValueError: If the three sequences differ in length or are empty.

    Example:
        >>> paired([1, 1, 0, 1], [0, 1, 0, 0], ["v1", "v1", "v2", "v3"]).difference
        0.5
    """
    # First, because it is the one that looks at the lengths of all three.
    p = paired_permutation(a, b, clusters, resamples=resamples, seed=seed)
    n = len(a)
    gaps = [ours - theirs for ours, theirs in zip(a, b, strict=True)]
    return Paired(
        n=n,
        clusters=len(set(clusters)),
        a=sum(a) / n,
        b=sum(b) / n,
        difference=sum(gaps) / n,
        ci95=mean_bootstrap(gaps, clusters, resamples=resamples, seed=seed),
        p=p,
    )
