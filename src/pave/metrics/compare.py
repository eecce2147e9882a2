"""Two sets of per-item scores of the same questions: the paired difference of every mean, its interval and p-value."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from pave.metrics.bootstrap import mean_bootstrap
from pave.metrics.permutation import paired_permutation


@dataclass(frozen=True)
class Comparison:
    """a minus b, on the questions that both have; fractions.

    Attributes:
        score: Name of the score.
        label: "all", or the label of the questions.
        n: Questions.
        clusters: Videos.
        a: Mean of a.
        b: Mean of b.
        difference: a - b.
        ci95: Paired bootstrap interval over videos; None for a single video, of which nothing can
            be resampled.
        p: Two-sided p-value of a permutation test over videos.
    """

    score: str
    label: str
    n: int
    clusters: int
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    p: float


def compare(
    a: Mapping[str, Mapping[str, float]],
    b: Mapping[str, Mapping[str, float]],
    clusters: Mapping[str, Hashable],
    labels: Mapping[str, Sequence[str]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two arms, over all questions and for each label.

    Args:
        a: Question -> score name -> value.
        b: The same of the other arm; questions and scores that only one of them has do not count.
        clusters: Question -> its video; a question that is not in there is its own.
        labels: Question -> its labels.
        resamples: Draws of the bootstrap and of the permutation test.
        seed: Their seed.

    Raises:
        ValueError: If the arms share no question or no score.

    Example:
        >>> one = compare({"q1": {"em": 1}, "q2": {"em": 1}}, {"q1": {"em": 0}, "q2": {"em": 1}}, {}, {})[0]
        >>> one.n, one.difference
        (2, 0.5)
    """
    shared = [name for name in a if name in b]
    if not shared:
        raise ValueError("the two have no question in common")
    scores = [
        score
        for score in a[shared[0]]
        if all(score in a[name] and score in b[name] for name in shared)
    ]
    if not scores:
        raise ValueError("the two have no score in common")
    groups: dict[str, list[str]] = {"all": shared}
    for name in shared:
        for label in labels.get(name, ()):
            groups.setdefault(label if label != "all" else "all (label)", []).append(name)
    rows = []
    for label, members in groups.items():
        videos = [clusters.get(name, name) for name in members]
        for score in scores:
            ours, theirs = ([float(arm[name][score]) for name in members] for arm in (a, b))
            rows.append(_row(score, label, ours, theirs, videos, resamples, seed))
    return rows


def _row(
    score: str,
    label: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    videos: Sequence[Hashable],
    resamples: int,
    seed: int,
) -> Comparison:
    n, count = len(ours), len(set(videos))
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    interval = mean_bootstrap(gaps, videos, resamples=resamples, seed=seed) if count > 1 else None
    p = paired_permutation(ours, theirs, videos, resamples=resamples, seed=seed)
    return Comparison(
        score, label, n, count, sum(ours) / n, sum(theirs) / n, sum(gaps) / n, interval, p
    )
