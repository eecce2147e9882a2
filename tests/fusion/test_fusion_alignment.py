"""The vectorised alignment rules against loops that follow their wording."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pave.errors import ChannelError
from pave.fusion import Fusion, FusionConfig
from pave.fusion.align import Frames, by_number, by_time, join, places, seconds, stretch

MOMENTS = st.lists(st.integers(0, 40), min_size=1, max_size=12).map(
    lambda xs: torch.tensor(sorted(xs), dtype=torch.float64) / 4
)


def seen_by_time(query, side, frame):
    """Steps that one frame sees, in words."""
    low = (query[frame - 1] + query[frame]) / 2 if frame else -torch.inf
    high = (query[frame] + query[frame + 1]) / 2 if frame + 1 < len(query) else torch.inf
    inside = [k for k, t in enumerate(side) if low <= t < high]
    return inside or [min(range(len(side)), key=lambda k: (abs(side[k] - query[frame]), side[k]))]


@settings(max_examples=300, deadline=None)
@given(MOMENTS, MOMENTS)
def test_times_rule(query, side):
    start, count = by_time(query, side).T
    for frame, (first, length) in enumerate(zip(start.tolist(), count.tolist(), strict=True)):
        expected = seen_by_time(query, side, frame)
        # Among equal times any one step is the nearest; compare what is seen by time there.
        assert side[first : first + length].tolist() == side[expected].tolist()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 20), st.integers(0, 60))
def test_number_rule(frames, more):
    steps = frames + more
    start, count = (part.tolist() for part in by_number(frames, steps).T)
    lengths = [steps // frames + (i < steps % frames) for i in range(frames)]
    assert count == lengths
    assert start == [sum(lengths[:i]) for i in range(frames)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_interpolation(frames, steps, tokens):
    side = torch.randn(steps, tokens, 2, dtype=torch.float64)
    got = stretch(side, frames)
    assert got.shape == (frames, tokens, 2)
    for k in range(frames):  # frame k lies between two steps, ends on ends
        place = k * (steps - 1) / max(frames - 1, 1)
        low = min(int(place), steps - 1)
        high = min(low + 1, steps - 1)
        torch.testing.assert_close(got[k], torch.lerp(side[low], side[high], place - low))


def test_even_spread_without_times():
    for frames, steps, starts, counts in (
        (4, 8, [0, 2, 4, 6], [2, 2, 2, 2]),
        (2, 3, [0, 1], [1, 2]),
    ):
        start, count = by_time(seconds("query", None, frames), seconds("side", None, steps)).T
        assert start.tolist() == starts and count.tolist() == counts


def test_a_late_channel_reaches_early_frames_by_its_first_step_alone():
    start, count = by_time(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([2.0, 2.4, 3.0])).T
    assert start.tolist() == [0, 0, 0, 2] and count.tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("query", "side", "words"),
    [
        ([torch.zeros(2)], None, "or neither of them"),
        (None, [torch.zeros(3)], "or neither of them"),
        ([torch.zeros(3)], [torch.zeros(3)], "query_times must have one time per step"),
        ([torch.zeros(2)], [torch.zeros(3, 1)], "side_times must have one time per step"),
        ([torch.tensor([1.0, 0.0])], [torch.zeros(3)], "backwards"),
        ([torch.zeros(2)], [None], "give query_times and side_times for every clip"),
    ],
)
def test_times_that_do_not_fit(query, side, words):
    fusion = Fusion(FusionConfig(side_dim=5, query_dim=6, out_dim=7, hidden=16))
    with pytest.raises(ChannelError, match=words):
        fusion([torch.zeros(2, 1, 6)], [torch.zeros(3, 1, 5)], query, side)


def test_runs_are_padded_to_the_longest_and_masked():
    place, is_real = places(torch.tensor([[0, 1], [1, 2], [3, 3]]))
    assert place.tolist() == [[0, 0, 0], [1, 2, 1], [3, 4, 5]]
    assert place[is_real].tolist() == [0, 1, 2, 3, 4, 5]
    place, none = places(torch.tensor([[0, 2], [2, 2]]))
    assert none is None and place.tolist() == [[0, 1], [2, 3]]


def test_joined_clips_keep_their_own_tokens():
    def clip(frames, tokens):
        first = torch.arange(frames)
        return Frames(
            torch.randn(frames, 4, 3),
            torch.randn(tokens, 2),
            torch.stack([first, first * 0 + 1], 1),
            torch.empty(frames, 4, 0),
            torch.empty(tokens, 0),
        )

    left, right = clip(2, 5), clip(3, 4)
    both = join([left, right])
    seen, *wanted = [c.side[places(c.runs)[0]] for c in (both, left, right)]
    assert torch.equal(seen, torch.cat(wanted)) and both.query.shape == (5, 4, 3)
