"""Which frames a sampling takes: proved on arbitrary timelines, without decoding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.errors import ConfigError
from pave.media import At, Rate, Uniform
from pave.media.sampling import choose

timelines = st.lists(st.floats(0.005, 3.0), min_size=0, max_size=60).map(
    lambda gaps: np.concatenate([[0.0], np.cumsum(gaps)])
)


@given(timelines, st.integers(1, 80))
def test_uniform_is_the_authors_rule(times: np.ndarray, count: int) -> None:
    """Same indices as np.linspace(0, N - 1, count, dtype=int), however short the clip is."""
    chosen = choose(times, Uniform(count))
    assert chosen.tolist() == np.linspace(0, len(times) - 1, count, dtype=int).tolist()
    assert len(chosen) == count and chosen[0] == 0


@given(timelines, st.lists(st.floats(-1.0, 200.0), min_size=1, max_size=10))
def test_at_takes_the_frame_on_screen(times: np.ndarray, moments: list[float]) -> None:
    """The frame taken has started (to 1 ms) and its successor has not, within the clip."""
    for moment, index in zip(moments, choose(times, At(moments)), strict=True):
        assert index == 0 or times[index] <= moment + 1.1e-3
        assert index == len(times) - 1 or times[index + 1] > moment + 0.9e-3


@given(timelines, st.floats(0.1, 100.0))
def test_rate_takes_the_frames_on_screen_at_its_beats(times: np.ndarray, fps: float) -> None:
    """Exactly the frames seen at 0, 1/fps, 2/fps, ... to the last one, each once, in order."""
    beats = np.arange(int(np.floor((times[-1] + 1e-3) * fps)) + 1) / fps
    seen = sorted(set(choose(times, At(beats)).tolist()))
    assert choose(times, Rate(fps)).tolist() == seen


@given(timelines, st.floats(0.1, 100.0), st.integers(1, 20))
def test_rate_with_a_limit(times: np.ndarray, fps: float, limit: int) -> None:
    """More frames than allowed: the uniform rule over the whole clip instead."""
    free, limited = choose(times, Rate(fps)), choose(times, Rate(fps, at_most=limit))
    expected = choose(times, Uniform(limit)) if len(free) > limit else free
    assert limited.tolist() == expected.tolist()


def test_a_rate_above_the_videos_own_costs_nothing() -> None:
    """A rate of a billion takes every frame once and does not build a billion beats."""
    assert choose(np.arange(5) / 25, Rate(1e9)).tolist() == [0, 1, 2, 3, 4]


def test_times_rounded_to_milliseconds_find_their_frame() -> None:
    """0.033 means the frame at 1/30 s, not the one before."""
    times = np.arange(90) / 30
    assert choose(times, At([round(t, 3) for t in times])).tolist() == list(range(90))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Uniform, (0,)),
        (Rate, (0,)),
        (Rate, (float("nan"),)),
        (Rate, (1, 0)),
        (At, ([],)),
        (At, ([float("inf")],)),
    ],
)
def test_impossible_samplings_are_refused(kind: type, arguments: tuple[object, ...]) -> None:
    """A sampling that selects nothing is an error where it is written, not where it is used."""
    with pytest.raises(ConfigError, match=r"Uniform|Rate|At"):
        kind(*arguments)
