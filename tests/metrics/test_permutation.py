"""The permutation test against all sign patterns, and intervals of means."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pave.metrics import mean_bootstrap, paired, paired_permutation

_rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=25
)


@settings(deadline=None)
@given(_rows)
def test_p_counts_the_sign_patterns_at_least_as_extreme(rows) -> None:
    a, b, clips = (list(map(float, column)) for column in zip(*rows, strict=True))
    sums = [
        sum(x - y for x, y, c in zip(a, b, clips, strict=True) if c == clip)
        for clip in sorted(set(clips))
    ]
    patterns = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True)))
        for signs in product((-1, 1), repeat=len(sums))
    ]
    wanted = np.mean([value >= abs(sum(sums)) - 1e-9 for value in patterns])
    assert paired_permutation(a, b, clips) == pytest.approx(wanted)
    assert paired_permutation(b, a, clips) == pytest.approx(wanted)


def test_drawn_p_agrees_with_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    a, b, clips = rng.random(13), rng.random(13) - 0.15, list(range(13))
    exact = paired_permutation(a, b, clips, resamples=10_000)
    drawn = paired_permutation(a, b, clips, resamples=8_000)
    assert drawn == pytest.approx(exact, abs=0.02)
    assert paired_permutation(a, a, clips) == 1.0
    with pytest.raises(ValueError, match="length"):
        paired_permutation([1.0], [], [])


def test_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(1)
    ps = [
        paired_permutation(*rng.random((2, 40)), np.arange(40) // 2, resamples=200, seed=seed)
        for seed in range(200)
    ]
    assert 0.01 <= float(np.mean(np.array(ps) < 0.05)) <= 0.1


def test_interval_of_a_mean_is_that_of_its_difference_to_nothing() -> None:
    scores, clips = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0], list("aabcdefg")
    gap = paired(scores, [0.0] * 8, clips)
    assert gap.ci95 is not None
    assert mean_bootstrap(scores, clips) == gap.ci95
    assert mean_bootstrap([1.0, 0.0], ["v", "v"]) is None
    with pytest.raises(ValueError, match="length"):
        mean_bootstrap([], [])
