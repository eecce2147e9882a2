"""The plan of a run: every question once an epoch, the same for ever."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pave.train.plans import Plan


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 3))
def test_each_question_once_an_epoch_in_equal_parts(sizes, questions, seed):
    plan = Plan(sizes, questions, seed)
    assert plan.per_epoch == sum(math.ceil(size / questions) for size in sizes)
    for epoch in range(2):
        parts = [plan[epoch * plan.per_epoch + i] for i in range(plan.per_epoch)]
        used = sorted((clip, question) for clip, chosen in parts for question in chosen)
        assert used == [
            (clip, question) for clip, size in enumerate(sizes) for question in range(size)
        ]
        assert all(len(chosen) <= questions for _, chosen in parts)
        for clip in range(len(sizes)):
            lengths = [len(chosen) for other, chosen in parts if other == clip]
            assert max(lengths) - min(lengths) <= 1
    other = Plan(sizes, questions, seed)
    last = 2 * plan.per_epoch - 1
    assert other[last] == plan[last]  # in any order of access
    assert other[0] == plan[0]


def test_epochs_and_seeds_differ():
    orders = {
        str([Plan([4] * 8, 2, seed)[i] for i in range(start, start + 16)])
        for seed in (0, 1)
        for start in (0, 16)
    }
    assert len(orders) == 4
