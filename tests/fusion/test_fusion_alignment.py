"""The vectorised alignment rules against loops that follow their wording."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pave.errors import ChannelError
from pave.fusion.align import Sizes, Times, by_number, by_time, stretch
from pave.fusion.layout import Runs, query_runs, side_runs

MOMENTS = st.lists(st.integers(0, 40), min_size=1, max_size=12).map(
    lambda xs: torch.tensor(sorted(xs), dtype=torch.float64) / 4
)
CLIPS = st.lists(st.tuples(MOMENTS, MOMENTS), min_size=1, max_size=5)


def seen_by_time(query, side, frame):
    """Steps that one frame sees, in words."""
    low = (query[frame - 1] + query[frame]) / 2 if frame else -torch.inf
    high = (query[frame] + query[frame + 1]) / 2 if frame + 1 < len(query) else torch.inf
    inside = [k for k, t in enumerate(side) if low <= t < high]
    return inside or [min(range(len(side)), key=lambda k: (abs(side[k] - query[frame]), side[k]))]


@settings(max_examples=150, deadline=None)
@given(CLIPS)
def test_times_rule(clips):
    query, side = [q for q, _ in clips], [s for _, s in clips]
    sizes = Sizes.of([(len(q), 1) for q in query], [(len(s), 1) for s in side])
    start, count = by_time(sizes, Times.of(sizes, query, side))
    got = [list(range(a, a + n)) for a, n in zip(start.tolist(), count.tolist(), strict=True)]
    expected = [seen_by_time(q, s, i) for q, s in clips for i in range(len(q))]
    # Among equal times any one step is the nearest; compare what is seen by time there.
    flat = [s for q, s in clips for _ in range(len(q))]
    assert [s[g].tolist() for g, s in zip(got, flat, strict=True)] == [
        s[e].tolist() for e, s in zip(expected, flat, strict=True)
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 60)), min_size=1, max_size=5))
def test_number_rule(shapes):
    sizes = Sizes.of([(t, 1) for t, _ in shapes], [(t + more, 1) for t, more in shapes])
    start, count = (part.tolist() for part in by_number(sizes))
    for frames, more in shapes:
        steps = frames + more
        lengths = [steps // frames + (i < steps % frames) for i in range(frames)]
        assert count[:frames] == lengths
        assert start[:frames] == [sum(lengths[:i]) for i in range(frames)]
        start, count = start[frames:], count[frames:]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3)), min_size=1, max_size=4
    )
)
def test_interpolation(shapes):
    sizes = Sizes.of(
        [(frames, 1) for frames, _, _ in shapes], [(steps, tokens) for _, steps, tokens in shapes]
    )
    side = [torch.randn(steps, tokens, 2, dtype=torch.float64) for _, steps, tokens in shapes]
    flat = torch.cat([clip.flatten(0, 1) for clip in side])
    plan = stretch(sizes)
    got = flat if plan is None else torch.lerp(flat[plan[0]], flat[plan[1]], plan[2][:, None])
    for (frames, steps, tokens), clip in zip(shapes, side, strict=True):
        size = max(frames, steps)
        exact = torch.nn.functional.interpolate(
            clip.flatten(1).T[None], size=size, mode="linear", align_corners=True
        )[0].T
        torch.testing.assert_close(got[: size * tokens].view(size, -1), exact)
        got = got[size * tokens :]
    assert not len(got)


def test_even_spread_without_times():
    sizes = Sizes.of([(4, 1), (2, 1)], [(8, 1), (3, 1)])
    times = Times.of(sizes, None, None)
    start, count = by_time(sizes, times)
    assert start.tolist() == [0, 2, 4, 6, 0, 1] and count.tolist() == [2, 2, 2, 2, 1, 2]


def test_a_late_channel_reaches_early_frames_by_its_first_step_alone():
    sizes = Sizes.of([(4, 1)], [(3, 1)])
    times = Times.of(sizes, [torch.tensor([0.0, 1.0, 2.0, 3.0])], [torch.tensor([2.0, 2.4, 3.0])])
    start, count = by_time(sizes, times)
    assert start.tolist() == [0, 0, 0, 2] and count.tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("query", "side", "words"),
    [
        ([torch.zeros(2)], None, "both"),
        (None, [torch.zeros(3)], "both"),
        ([torch.zeros(3)], [torch.zeros(3)], "query_times must have the shapes"),
        ([torch.zeros(2)], [torch.zeros(3, 1)], "side_times must have the shapes"),
        ([torch.tensor([1.0, 0.0])], [torch.zeros(3)], "backwards"),
    ],
)
def test_times_that_do_not_fit(query, side, words):
    with pytest.raises(ChannelError, match=words):
        Times.of(Sizes.of([(2, 1)], [(3, 1)]), query, side)


def test_runs_that_tile_need_neither_index_nor_mask():
    sizes = Sizes.of([(3, 4), (3, 4)], [(6, 2), (6, 2)])
    for runs in (
        query_runs(sizes, torch.device("cpu")),
        side_runs(sizes, *by_number(sizes), torch.device("cpu")),
    ):
        assert runs.index is None and runs.mask is None


def test_runs_take_and_put_back():
    runs = Runs.of(torch.tensor([0, 1, 3]), torch.tensor([1, 2, 3]), 6, torch.device("cpu"))
    block = runs.take(torch.arange(6.0))
    assert block.shape == (3, 3) and block[runs.mask].tolist() == [0, 1, 2, 3, 4, 5]
    assert runs.put(block[..., None]).flatten().tolist() == [0, 1, 2, 3, 4, 5]
