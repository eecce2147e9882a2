"""Scenes for several cameras: the main one never sees what is hidden, the others do.

And answers follow from the scene.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pave_world import Question, Scene, questions_for, render_frames, sample_scene
from pave_world.pictures.backdrop import SCREEN_RGB

MOMENTS = (0.0, 1.3, 2.6, 3.9)
NUMBERS = ("zero", "one", "two", "three", "four")
indices = st.integers(0, 10**6)


def full(index: int) -> Scene:
    """A scene with something in both hidden places (sizes drawn as for any other)."""
    scenes = (sample_scene("views", "train", index * 97 + step) for step in range(1000))
    return next(scene for scene in scenes if len(scene.hidden) == 2)


def right(scene: Scene, question: Question) -> bool:
    """Checks an answer from the scene, written apart from the generator."""
    asked = question.question.rstrip("?").split()
    place = scene.behind if "behind" in asked else scene.outside
    name = "" if place is None else place.name
    truth = {
        "total": lambda: NUMBERS[
            len(scene.things) + (scene.behind is not None) + (scene.outside is not None)
        ],
        "hidden_number": lambda: NUMBERS[
            len([place for place in (scene.behind, scene.outside) if place is not None])
        ],
        "anything": lambda: "yes" if name else "no",
        "behind": lambda: name,
        "outside": lambda: name,
        "hidden": lambda: "yes" if name in asked else "no",
    }
    return question.channel == "video" or question.answer == truth[question.family]()


@given(index=indices)
def test_answers_are_right(index: int) -> None:
    scene = sample_scene("views", "train", index)
    assert all(right(scene, question) for question in questions_for(scene, None))


def test_how_many_are_hidden_and_where_is_drawn_apart_from_what_is_seen() -> None:
    scenes = [sample_scene("views", "train", index) for index in range(3000)]
    for seen in (1, 2):
        counts = Counter(len(scene.hidden) for scene in scenes if len(scene.things) == seen)
        assert all(abs(counts[number] / counts.total() - 1 / 3) < 0.04 for number in range(3))
    places = Counter((scene.behind is not None, scene.outside is not None) for scene in scenes)
    assert abs(places[True, False] - places[False, True]) < 150


@settings(deadline=None, max_examples=25)
@given(index=st.integers(0, 10**4))
def test_no_pixel_of_the_main_view_tells_what_is_hidden(index: int) -> None:
    scene = full(index)
    shown = render_frames(scene, MOMENTS)
    for behind, outside in ((None, None), (scene.behind, None), (None, scene.outside)):
        other = replace(scene, behind=behind, outside=outside)
        assert np.array_equal(shown, render_frames(other, MOMENTS))
        before, after = (
            {q.family: q.answer for q in questions_for(s, None)} for s in (scene, other)
        )
        assert all(
            before[family] != after[family]
            for family in ("total", "hidden_number")
            if family in before
        )


@settings(deadline=None, max_examples=25)
@given(index=st.integers(0, 10**4))
def test_each_further_camera_sees_its_place_whole_and_nothing_else(index: int) -> None:
    scene = full(index)
    assert scene.behind is not None and scene.outside is not None
    empty = replace(scene, things=(), behind=None, outside=None)
    for view, hidden in ((1, {"behind": scene.behind}), (2, {"outside": scene.outside})):
        backdrop = render_frames(empty, [0.0], view=view)[0]
        seen = render_frames(scene, [0.0], view=view)[0]
        assert np.array_equal(
            seen, render_frames(replace(empty, **hidden), [0.0], view=view)[0]
        )  # nothing else is in view
        rows, columns = np.nonzero((seen != backdrop).any(axis=2))
        assert len(rows) > 800 and 60 < max(np.ptp(rows), np.ptp(columns)) < 140
        assert (
            rows.min() > 2 and rows.max() < 189 and columns.min() > 2 and columns.max() < 189
        )  # not cut
    rear = render_frames(empty, [0.0], view=1)[0]
    assert (rear[:90] == SCREEN_RGB).all()  # the screen's back is all there is behind it


def test_the_screen_covers_what_stands_behind_it_and_its_rim_is_dark() -> None:
    scene = full(0)
    frame = render_frames(replace(scene, things=()), [0.0])[0]
    panel = (frame == SCREEN_RGB).all(axis=2)
    rows, columns = np.nonzero(panel)
    assert (
        panel[rows.min() : rows.max(), columns.min() : columns.max()].mean() > 0.97
    )  # one whole rectangle
    assert 30 < np.ptp(columns) < 62 and np.ptp(rows) > 25


def test_the_screen_is_in_the_row_and_no_thing_hides_it() -> None:
    for index in range(300):
        scene = sample_scene("views", "train", index)
        screen = scene.screen
        assert screen is not None
        for thing in scene.things:
            apart = abs(thing.x / thing.z - screen.x / screen.z)
            assert apart > (thing.height / thing.z + screen.width / screen.z) / 2 - 0.03


def test_who_stands_at_the_end_is_asked_only_where_the_screen_does_not() -> None:
    for index in range(300):
        scene = sample_scene("views", "train", index)
        assert scene.screen is not None
        places = [thing.x / thing.z for thing in scene.things]
        asked = {question.family for question in questions_for(scene, None)}
        if len(places) == 2:
            assert ("left" in asked) == (places[0] < scene.screen.x / scene.screen.z)
            assert ("right" in asked) == (places[-1] > scene.screen.x / scene.screen.z)
        else:
            assert "what" in asked
