"""3D scenes: depth, intrinsics and poses agree with the picture to the pixel.

And without them depth cannot be seen.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers import tiny
from pave.bases import tower_of
from pave.channels import make_encoder
from pave_world import (
    Question,
    Scene,
    camera_to_world,
    intrinsics,
    make_world,
    questions_for,
    render_depth,
    render_frames,
    sample_scene,
)
from pave_world.pictures.geometry import write_scene3d
from pave_world.scenes.scene import Pose, Thing
from pave_world.scenes.scene3d import distance, side_of_line

SIZE = 192
MOMENTS = (0.0, 1.3, 2.6, 3.9)
NUMBERS = ("zero", "one", "two", "three", "four")
indices = st.integers(0, 10**6)


def pushed(scene: Scene, factors: list[float]) -> Scene:
    """The scene with each thing moved along its line of sight."""
    eye = scene.camera.height
    things = tuple(
        Thing(thing.name, thing.x * by, eye + (thing.y - eye) * by, thing.z * by, thing.height * by)
        for thing, by in zip(scene.things, factors, strict=True)
    )
    return replace(scene, things=things)


def right(scene: Scene, question: Question) -> bool:
    """Checks an answer from the scene, written apart from the generator."""
    eye = np.array([0.0, scene.camera.height, 0.0])
    centres = {t.name: np.array([t.x, t.y + t.height / 2, t.z]) for t in scene.things}
    far = {name: float(np.linalg.norm(centre - eye)) for name, centre in centres.items()}
    words = question.question.replace(".", " ").replace(",", " ").rstrip("?").split()
    names = [word for word in words if word in centres]

    def situated() -> str:
        stand, face, asked = (complex(centres[name][0], centres[name][2]) for name in names)
        return "left" if ((asked - stand) / (face - stand)).imag > 0 else "right"

    truth = {
        "nearest": lambda: min(far, key=lambda name: far[name]),
        "farthest": lambda: max(far, key=lambda name: far[name]),
        "nearer": lambda: min(names, key=lambda name: far[name]),
        "farther": lambda: max(names, key=lambda name: far[name]),
        "front": lambda: "yes" if (far[names[0]] < far[names[1]]) == ("front" in words) else "no",
        "side": lambda: (
            "left" if min(far, key=lambda name: far[name]) == scene.visible[0] else "right"
        ),
        "metres": lambda: NUMBERS[int(far[names[0]] + 0.5)],
        "situated": situated,
    }
    return question.channel == "video" or question.answer == truth[question.family]()


@given(index=indices, split=st.sampled_from(["train", "test"]))
def test_answers_are_right_and_clear(index: int, split: str) -> None:
    scene = sample_scene("scene3d", split, index)
    assert all(right(scene, question) for question in questions_for(scene, None))
    far = sorted(distance(scene, thing) for thing in scene.things)
    assert all(abs(metres - round(metres)) < 0.16 for metres in far) and (np.diff(far) > 0.6).all()
    if len(scene.things) == 3:
        assert abs(side_of_line(scene.things[0], scene.things[2], scene.things[1])) >= 0.2


@settings(deadline=None, max_examples=25)
@given(index=indices, factors=st.lists(st.floats(0.3, 1.25), min_size=3, max_size=3))
def test_no_pixel_tells_how_far_away_a_thing_is(index: int, factors: list[float]) -> None:
    scene = sample_scene("scene3d", "train", index)
    other = pushed(scene, factors[: len(scene.things)])
    assert np.array_equal(render_frames(scene, MOMENTS, SIZE), render_frames(other, MOMENTS, SIZE))


def test_scenes_with_equal_pictures_have_other_answers() -> None:
    """By construction: swap the distances of two things.

    And every frame stays while every question about them turns.
    """
    for index in range(20):
        scene = sample_scene("scene3d", "train", index)
        first, last = distance(scene, scene.things[0]), distance(scene, scene.things[-1])
        factors = [last / first, *[1.0] * (len(scene.things) - 2), first / last]
        other = pushed(scene, factors)
        assert np.array_equal(
            render_frames(scene, MOMENTS, SIZE), render_frames(other, MOMENTS, SIZE)
        )
        assert not np.array_equal(render_depth(scene, 0.0, SIZE), render_depth(other, 0.0, SIZE))
        if len(scene.things) == 2:
            before, after = (
                {
                    q.family: q.answer
                    for q in questions_for(s, None)
                    if q.family in ("nearest", "side")
                }
                for s in (scene, other)
            )
            assert all(before[family] != after[family] for family in ("nearest", "side"))


def back_projected(scene: Scene, time: float, size: int) -> NDArray[np.float64]:
    """World point of every pixel as a reader of the file computes it, in the scene's axes."""
    matrix, pose = intrinsics(scene, size), camera_to_world(scene.pose(time))
    depth = render_depth(scene, time, size).astype(np.float64)
    rows, columns = np.mgrid[:size, :size]
    rays = np.linalg.inv(matrix) @ np.stack([columns.ravel(), rows.ravel(), np.ones(size * size)])
    points = pose[:3, :3] @ (rays * depth.ravel()) + pose[:3, 3:]
    return points[[0, 2, 1]].T.reshape(
        size, size, 3
    )  # right, into the room, up -> right, up, into the room


@settings(deadline=None, max_examples=20)
@given(index=indices, time=st.floats(0, 4))
def test_pixels_of_a_thing_lead_back_to_where_it_stands(index: int, time: float) -> None:
    scene = sample_scene("scene3d", "train", index)
    turned = replace(scene, camera=replace(scene.camera, pan=0.05))
    points = back_projected(turned, time, SIZE)
    bare = back_projected(replace(turned, things=()), time, SIZE)
    changed = np.abs(points - bare).sum(axis=2) > 1e-3
    for thing in scene.things:
        pixel = math.hypot(thing.x, thing.z) / (1.1 * SIZE)  # metres that a pixel covers there
        beside = (
            np.abs(points[..., 0] - thing.x) <= thing.height / 2 + 3 * pixel + 0.05 * thing.height
        )
        mine = changed & beside & (np.abs(points[..., 2] - thing.z) < 0.3)
        assert mine.sum() > 60
        corner = points[mine]
        middle = (corner.min(axis=0) + corner.max(axis=0)) / 2
        assert middle[:2] == pytest.approx(
            [thing.x, thing.y + thing.height / 2], abs=3 * pixel + 0.02 * thing.z
        )
        assert np.ptp(corner[:, :2], axis=0).max() == pytest.approx(thing.height, abs=5 * pixel)


def test_walls_and_floor_lead_back_to_their_planes() -> None:
    scene = replace(sample_scene("scene3d", "val", 3), things=())
    scene = replace(scene, camera=replace(scene.camera, pan=0.1))
    points = back_projected(scene, 0.7, 64).reshape(-1, 3)
    on_floor, on_wall = np.abs(points[:, 1]) < 1e-5, np.abs(points[:, 2] - scene.room.depth) < 1e-5
    assert (on_floor | on_wall).all() and on_floor.any() and on_wall.any()


def test_poses_are_rigid_and_equal_the_renderers_own() -> None:
    pose = Pose(0.3, 1.4, -0.2, 0.4)
    matrix = camera_to_world(pose)
    assert matrix[:3, :3] @ matrix[:3, :3].T == pytest.approx(np.eye(3)) and np.linalg.det(
        matrix[:3, :3]
    ) == pytest.approx(1)
    point = np.array([[0.5, 0.9, 3.0]])
    right_up_forward = pose.to_camera(point)[0]
    x, y, z = np.linalg.inv(matrix)[:3] @ np.array([point[0, 0], point[0, 2], point[0, 1], 1.0])
    assert [x, -y, z] == pytest.approx(right_up_forward.tolist())


def test_the_file_holds_what_was_rendered(tmp_path: Path) -> None:
    scene, times = sample_scene("scene3d", "test", 4), np.array([0.0, 1.5])
    path = write_scene3d(tmp_path / "new" / "a.npz", scene, times, 64)
    with np.load(path) as file:
        assert {name: (file[name].dtype.name, file[name].shape) for name in file} == {
            "color": ("uint8", (2, 64, 64, 3)),
            "depth": ("float32", (2, 64, 64)),
            "intrinsic": ("float64", (3, 3)),
            "pose": ("float64", (2, 4, 4)),
            "times": ("float64", (2,)),
        }
        assert np.array_equal(file["color"], render_frames(scene, times, 64))
        assert np.array_equal(file["depth"][1], render_depth(scene, 1.5, 64))
    assert path.read_bytes() == write_scene3d(tmp_path / "b.npz", scene, times, 64).read_bytes()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.npz", "b.npz", "new"]


def test_tower3d_reads_the_embedded_world(tmp_path: Path) -> None:
    """What the world writes is what the encoder reads.

    With the depth of the nearest thing in it.
    """
    records = make_world(tmp_path / "w", "test", clips=1, channel="scene3d", size=64)
    encoder = make_encoder(
        "scene3d", "tower3d", {"frames": 2, "cell": "nearest"}, tower=tower_of(tiny.base())
    )
    tokens = encoder.encode(records.parent / "clips" / "test-scene3d-00000.npz")
    assert tokens is not None and tokens.steps == 2
    scene = sample_scene("scene3d", "test", 0)
    nearest = min(thing.z for thing in scene.things)
    depth = tokens.values[0, :, encoder.dim - 53 + 3] * 8
    assert float(depth.min()) == pytest.approx(nearest, abs=0.05)
