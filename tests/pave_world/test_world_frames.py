"""Fast events: no frame that a base sees shows them, frames between do.

Answers follow from the scene.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helpers.gaps import LENGTHS, NUMBERS, RATES, seen_times
from pave_world import Question, Scene, frame_times, questions_for, sample_scene


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


@given(index=st.integers(0, 10**6), fps=RATES, duration=LENGTHS)
def test_answers_are_right_and_no_taken_frame_shows_an_event(
    index: int, fps: float, duration: float
) -> None:
    scene = sample_scene("frames", "train", index, duration=duration)
    assert all(right(scene, question) for question in questions_for(scene, None))
    assert all(
        transient.at(float(time)) is None
        for time in seen_times(duration, fps)
        for transient in scene.transients
    )
    shown = [
        sum(t.at(float(time)) is not None for time in frame_times(duration, fps))
        for t in scene.transients
    ]
    assert min(shown) >= 1
    if duration >= 4 and fps >= 10:
        assert min(shown) >= 5


def test_a_dash_crosses_the_middle_when_the_next_taken_frame_becomes_the_nearer_one() -> None:
    for fps in (10.0, 25.0):
        times = seen_times(4.0, fps)
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
