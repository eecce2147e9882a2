"""What happens between the frames that a base sees leaves no trace in those frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.gaps import BETWEEN, SEEN, seen_times
from pave.errors import ConfigError
from pave.media import read_frames
from pave_world import Scene, WorldSettings, render_frames, sample_scene
from pave_world.films.clips import make_clip


def without_flashes(scene: Scene) -> Scene:
    return replace(scene, transients=())


def without_moves(scene: Scene) -> Scene:
    """The camera still sways."""
    return replace(scene, moves=())


CALM = [("frames", without_flashes), ("motion", without_moves)]
every_kind = pytest.mark.parametrize(("channel", "calm"), CALM, ids=["frames", "motion"])
Calm = Callable[[Scene], Scene]


@every_kind
@settings(max_examples=10)
@given(index=st.integers(0, 10**6), fps=st.sampled_from([10.0, 25.0]))
def test_the_seen_frames_are_those_of_a_calm_scene(
    channel: str, calm: Calm, index: int, fps: float
) -> None:
    scene = sample_scene(channel, "train", index)
    times = seen_times(4.0, fps)
    assert np.array_equal(render_frames(scene, times, 64), render_frames(calm(scene), times, 64))
    for event in scene.transients + scene.moves:
        during = np.linspace(event.start, event.end, 9)[1:-1]
        shown = render_frames(scene, during, 64)
        assert not np.array_equal(shown, render_frames(calm(scene), during, 64))


@every_kind
@pytest.mark.parametrize("index", range(3))
def test_not_even_the_coded_file_leaves_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel: str, calm: Calm, index: int
) -> None:
    """The decoded frames are bit-equal with and without the events, those between are not."""
    made = WorldSettings(channel=channel, duration=2.0, size=96)
    eventful = make_clip(tmp_path / "eventful", made, index)
    scene = calm(sample_scene(channel, "train", index, duration=2.0))
    monkeypatch.setattr("pave_world.films.clips.sample_scene", lambda *_, **__: scene)
    uneventful = make_clip(tmp_path / "uneventful", made, index)
    seen = [read_frames(path, SEEN).pixels for path in (eventful, uneventful)]
    between = [read_frames(path, BETWEEN).pixels for path in (eventful, uneventful)]
    assert torch.equal(*seen)
    assert not torch.equal(*between)


@pytest.mark.parametrize(("channel", "events"), [("frames", "flashes"), ("motion", "moves")])
def test_events_need_room(channel: str, events: str) -> None:
    with pytest.raises(ConfigError, match=f"with {events} needs 2 seconds or more"):
        sample_scene(channel, duration=1.0)
