"""How often a 95 % interval of few clips leaves the true difference out: bootstrap and sign flips.

    python benchmarks/few_clips.py          # the table of docs/explanation/few-clips.md

An experiment is two arms and some clips with one to five right-or-wrong questions each. A clip is
hard or easy for both arms. Five of a hundred intervals may miss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pave.metrics.bootstrap import mean_bootstrap, per_cluster

SIZES = (5, 6, 7, 8, 10, 12, 15, 19)
EXPERIMENTS = 1000
RESAMPLES = 1000

Interval = tuple[float, float] | None
Method = Callable[[Sequence[float], Sequence[int], int], Interval]


def experiment(
    clips: int, shift: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`[questions]` differences between the arms, and the clip of each; the truth is `shift`."""
    sizes = rng.integers(1, 6, clips)
    clusters = np.repeat(np.arange(clips), sizes)
    level = rng.uniform(0, 1 - shift, clips)[clusters]
    first = rng.random(len(clusters)) < level
    second = rng.random(len(clusters)) < level + shift
    return second.astype(float) - first.astype(float), clusters


def resampled(gaps: Sequence[float], clusters: Sequence[int], seed: int) -> Interval:
    """The percentile bootstrap, however few the clips are."""
    sums, sizes = per_cluster(np.asarray(gaps), clusters)
    count = len(sums)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)  # [R, clips]
    low, high = np.quantile((draws @ sums) / (draws @ sizes), [0.025, 0.975])
    return float(low), float(high)


def ours(gaps: Sequence[float], clusters: Sequence[int], seed: int) -> Interval:
    """What pave prints."""
    return mean_bootstrap(gaps, clusters, resamples=RESAMPLES, seed=seed)


def missed(method: Method, clips: int, shift: float) -> str:
    """Share of experiments whose interval leaves the truth out, in per cent; "none" without one."""
    rng = np.random.default_rng(clips)
    wrong = held = 0
    for number in range(EXPERIMENTS):
        gaps, clusters = experiment(clips, shift, rng)
        ends = method(gaps.tolist(), clusters.tolist(), number)
        if ends is None:
            continue
        held += 1
        wrong += not ends[0] - 1e-9 <= shift <= ends[1] + 1e-9
    if held == 0:
        return "none"
    return f"{100 * wrong / EXPERIMENTS:.1f} %"


def main() -> None:
    """Measure and print."""
    print("| clips | " + " | ".join(map(str, SIZES)) + " |")
    print("|---|" + "---:|" * len(SIZES))
    for shift, what in ((0.0, "no difference"), (0.3, "a difference of 30 points")):
        for name, method in (("bootstrap", resampled), ("sign flips", ours)):
            cells = [missed(method, clips, shift) for clips in SIZES]
            print(f"| {what}: {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
