"""Fast events: no frame that a base takes shows them, frames between do.

Answers follow from the scene.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pave.errors import ConfigError
from pave.media import Uniform, read_frames
from pave.media.sampling import choose
from pave_world import (
    Question,
    Scene,
    WorldSettings,
    frame_times,
    questions_for,
    render_frames,
    sample_scene,
)
from pave_world.films.clips import make_clip

NUMBERS = ("zero", "one", "two", "three", "four")
rates = st.one_of(st.sampled_from([10.0, 12.5, 24.0, 25.0]), st.floats(10, 25))
lengths = st.one_of(st.sampled_from([2.0, 4.0, 10.0]), st.floats(2, 20))


def taken(duration: float, fps: float) -> np.ndarray:
    """Times of the four frames that a base sees."""
    times = frame_times(duration, fps)
    return times[choose(times, Uniform(4))]


def right(scene: Scene, question: Question) -> bool:
    names = [transient.thing.name for transient in scene.transients]
    one = scene.transients[0]
    asked = [word for word in question.question.rstrip("?").split() if word in names]
    truth = {
        "flash": lambda: names[0],
        "flashed": lambda: "yes" if asked else "no",
        "flashes": lambda: NUMBERS[len(names)],
        "flash_first": lambda: (
            min(scene.transients, key=lambda transient: transient.start).thing.name
        ),
        "flash_last": lambda: max(scene.transients, key=lambda transient: transient.end).thing.name,
        "flash_side": lambda: "left" if one.thing.x < 0 else "right",
        "dash": lambda: names[0],
        "dashed": lambda: "yes" if asked else "no",
        "direction": lambda: "left" if one.travel < 0 else "right",
    }
    return question.channel == "video" or question.answer == truth[question.family]()


@given(index=st.integers(0, 10**6), fps=rates, duration=lengths)
def test_answers_are_right_and_no_taken_frame_shows_an_event(
    index: int, fps: float, duration: float
) -> None:
    scene = sample_scene("frames", "train", index, duration=duration)
    assert all(right(scene, question) for question in questions_for(scene, None))
    assert all(
        transient.at(float(time)) is None
        for time in taken(duration, fps)
        for transient in scene.transients
    )
    shown = [
        sum(t.at(float(time)) is not None for time in frame_times(duration, fps))
        for t in scene.transients
    ]
    assert min(shown) >= 1
    if duration >= 4 and fps >= 10:
        assert min(shown) >= 5


@settings(deadline=None, max_examples=15)
@given(index=st.integers(0, 10**6), fps=st.sampled_from([10.0, 25.0]))
def test_the_taken_frames_are_those_of_a_scene_without_events(index: int, fps: float) -> None:
    scene = sample_scene("frames", "train", index)
    calm = replace(scene, transients=())
    times = taken(4.0, fps)
    assert np.array_equal(render_frames(scene, times, 64), render_frames(calm, times, 64))
    middle = [(transient.start + transient.end) / 2 for transient in scene.transients]
    changed = (render_frames(scene, middle, 64) != render_frames(calm, middle, 64)).any(
        axis=(1, 2, 3)
    )
    assert changed.all()


def test_not_even_the_coded_file_leaves_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoded frames that a base takes are bit-equal with and without the events.

    Those between are not.
    """
    settings_ = WorldSettings(channel="frames", duration=2.0, size=96)
    for index in range(3):
        with_events = make_clip(tmp_path / "with", settings_, index)
        calm = replace(sample_scene("frames", "train", index, duration=2.0), transients=())
        monkeypatch.setattr("pave_world.films.clips.sample_scene", lambda *_, calm=calm, **__: calm)
        without = make_clip(tmp_path / "without", settings_, index)
        monkeypatch.undo()
        same = [read_frames(path, Uniform(4)).pixels for path in (with_events, without)]
        every = [read_frames(path, Uniform(20)).pixels for path in (with_events, without)]
        assert torch.equal(*same) and not torch.equal(*every)


def test_a_dash_crosses_the_middle_when_the_next_taken_frame_becomes_the_nearer_one() -> None:
    for fps in (10.0, 25.0):
        times = taken(4.0, fps)
        halves = (times[:-1] + times[1:]) / 2
        for index in range(200):
            scene = sample_scene("frames", "val", index)
            if scene.mode == "dash":
                (dash,) = scene.transients
                middle = (dash.start + dash.end) / 2
                assert np.abs(halves - middle).min() < 0.04
                thing = dash.at(middle)
                assert thing is not None and abs(thing.x) < 0.05  # in the middle of the picture
                first, last = dash.at(dash.start), dash.at(dash.end - 1e-6)
                assert first is not None and last is not None and first.x * last.x < 0


def test_what_happens_is_drawn_fairly() -> None:
    scenes = [sample_scene("frames", "train", index) for index in range(3000)]
    modes = Counter(scene.mode for scene in scenes)
    assert abs(modes["dash"] / 3000 - 0.3) < 0.03
    counts = Counter(len(scene.flashed) for scene in scenes if scene.mode == "flash")
    assert all(abs(counts[number] / counts.total() - 1 / 3) < 0.04 for number in (1, 2, 3))
    for scene in scenes:
        assert len(set(scene.flashed)) == len(scene.flashed)
        ends = [time for transient in scene.transients for time in (transient.start, transient.end)]
        assert ends == sorted(ends)


def test_flashes_need_room() -> None:
    with pytest.raises(ConfigError, match="2 seconds or more"):
        sample_scene("frames", duration=1.0)
