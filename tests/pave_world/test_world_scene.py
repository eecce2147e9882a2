"""Scenes are seeded, their splits never meet, and what they show is in view."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.errors import ConfigError
from pave_world import Scene, render_frames, sample_scene
from pave_world.pictures.render import project
from pave_world.scenes.catalog import CODES, SILENT, SOUNDING, UNSEEN, WALLS, pool_of, with_article
from pave_world.scenes.scene import Channel, Pose
from pave_world.scenes.seeds import Split, generator
from pave_world.sound.voices import VOICES

CHANNELS = get_args(Channel)
SPLITS = get_args(Split)


def scenes(channel: Channel, split: str, count: int) -> list[Scene]:
    return [sample_scene(channel, split, index) for index in range(count)]


def test_pools_are_disjoint_and_every_sounding_thing_has_a_voice() -> None:
    assert len(CODES) == len(SOUNDING) + len(SILENT) + len(UNSEEN) == len(set(CODES.values()))
    assert set(VOICES) == set(SOUNDING)
    assert (len(SOUNDING), len(SILENT), len(UNSEEN), len(WALLS)) == (12, 36, 12, 8)


def test_articles() -> None:
    assert [with_article(name) for name in ("apple", "dog", "scissors")] == [
        "an apple",
        "a dog",
        "scissors",
    ]


@given(
    channel=st.sampled_from(CHANNELS),
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 10**6),
    seed=st.integers(0, 2**40),
)
def test_same_arguments_same_scene_and_everything_is_in_view(
    channel: Channel, split: str, index: int, seed: int
) -> None:
    scene = sample_scene(channel, split, index, seed)
    assert scene == sample_scene(channel, split, index, seed)
    for moment in np.linspace(0, scene.duration, 5):
        pose = scene.camera.pose(float(moment))
        corners = [
            [thing.x + side * thing.height / 2, thing.y + up * thing.height, thing.z]
            for thing in scene.things
            for side in (-1, 1)
            for up in (0, 1)
        ]
        spots = project(scene, pose, np.array(corners), 192)
        assert (spots[:, :2] > -10).all() and (
            spots[:, :2] < 202
        ).all()  # a thing is never cut by more than a few pixels
        assert (spots[:, 2] > 0.5).all() and (spots[:, 2] < scene.room.depth).all()
        columns = spots.reshape(len(scene.things), 4, 3)[:, :, 0].mean(axis=1)
        assert (
            np.diff(columns) > 15
        ).all()  # the row stays in its order, so "left" is well defined


@pytest.mark.parametrize("channel", CHANNELS)
def test_splits_share_no_scene(channel: Channel) -> None:
    layouts = {
        split: {(scene.things, scene.camera) for scene in scenes(channel, split, 300)}
        for split in SPLITS
    }
    assert all(len(found) == 300 for found in layouts.values())
    assert (
        not layouts["train"] & layouts["test"]
        and not layouts["train"] & layouts["val"]
        and not layouts["val"] & layouts["test"]
    )
    assert (
        len(
            {
                name
                for split in SPLITS
                for name in (scene.name for scene in scenes(channel, split, 50))
            }
        )
        == 150
    )


@pytest.mark.parametrize("channel", CHANNELS)
def test_unseen_things_and_shades_are_in_the_test_split_only(channel: Channel) -> None:
    for split in ("train", "val"):
        for scene in scenes(channel, split, 300):
            assert not scene.unseen and not set(scene.visible) & set(UNSEEN)
            assert scene.room.wall_rgb[0] >= 0.85 * WALLS[scene.room.wall][0] - 1
    test = scenes(channel, "test", 300)
    assert {name for scene in test for name in scene.visible if pool_of(name) == "unseen"} == set(
        UNSEEN
    )
    assert all(scene.unseen for scene in test if set(scene.visible) & set(UNSEEN))
    assert 0.4 < np.mean([scene.unseen for scene in test]) < 0.6


def test_sound_scenes_show_two_that_could_sound_and_hear_some() -> None:
    for scene in scenes("audio", "train", 300):
        row = scene.visible
        assert pool_of(row[0]) == pool_of(row[-1]) == "sounding" and len(row) in (2, 3)
        assert scene.left_of(row[0]) and not scene.left_of(row[-1])
        assert len(scene.heard) == (1 if scene.mode == "one" else 2)
        if scene.mode == "mix":
            levels = sorted(event.level for event in scene.events)
            assert levels[1] - levels[0] >= 10
        if scene.mode == "sequence":
            assert scene.events[0].start == 0 and scene.events[0].end == scene.events[1].start
            assert scene.events[1].end == scene.duration


def test_visual_scenes_are_silent() -> None:
    assert all(
        scene.mode == "silent" and not scene.events for scene in scenes("video", "train", 50)
    )


def test_a_camera_turned_right_sees_things_further_left() -> None:
    scene = sample_scene("video")
    point = np.array([[0.0, 1.0, 4.0]])
    ahead = project(scene, Pose(0, 1.4, 0, 0.0), point, 192)
    turned = project(scene, Pose(0, 1.4, 0, 0.1), point, 192)
    stepped = project(scene, Pose(0.5, 1.4, 0, 0.0), point, 192)
    assert ahead[0, 0] == 96 and ahead[0, 2] == 4
    assert turned[0, 0] < 96 and stepped[0, 0] < 96
    assert ahead[0, 1] == pytest.approx(
        96 + 1.1 * 192 * 0.4 / 4
    )  # lower than the camera's eye: below the middle


def test_bad_split_and_seed_are_clear_errors() -> None:
    with pytest.raises(ConfigError, match="unknown split 'dev'"):
        sample_scene("audio", "dev")
    with pytest.raises(ConfigError, match="must not be negative"):
        generator(-1, "train", 0, "scene")


def test_frames_depend_on_the_moment_alone() -> None:
    scene = sample_scene("audio", "val", 7)
    together, alone = render_frames(scene, [0.0, 1.3]), render_frames(scene, [1.3])
    assert together.shape == (2, 192, 192, 3) and together.dtype == np.uint8
    assert np.array_equal(together[1], alone[0]) and not np.array_equal(together[0], together[1])
