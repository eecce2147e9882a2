"""Frames: the room is where geometry says, near things hide far ones, and blending is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pave.errors import ConfigError
from pave_world import assets, frame_times, render_frames, sample_scene
from pave_world.pictures import sprites
from pave_world.pictures.render import _compose
from pave_world.pictures.sprites import sprite
from pave_world.scenes.catalog import CODES
from pave_world.scenes.scene import Thing


def test_every_name_has_a_sprite_that_fills_its_square() -> None:
    for name in CODES:
        image = sprite(name, 32)
        assert image.shape == (32, 32, 4)
        rows, columns = np.nonzero(image[..., 3] > 32)
        assert max(np.ptp(rows), np.ptp(columns)) >= 28
        assert (image[..., :3] <= image[..., 3:]).all()  # premultiplied


def test_sprites_are_shared_and_cannot_be_written() -> None:
    assert sprite("dog", 41) is sprite("dog", 40)
    with pytest.raises(ValueError, match="read-only"):
        sprite("dog", 40)[0] = 0


@pytest.mark.parametrize(("column", "row"), [(20, 20), (0, 5), (39, 39), (-30, 10), (60, 60)])
def test_blending_equals_floating_point_and_cuts_at_the_border(column: int, row: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    image = sprite("frog", 20)
    padded = np.pad(frame.astype(np.float64), ((60, 60), (60, 60), (0, 0)))
    spot = padded[row + 50 : row + 70, column + 50 : column + 70]
    spot[:] = spot * (1 - image[..., 3:] / 255) + image[..., :3]
    _compose(frame, image, column, row)
    assert np.abs(frame - padded[60:100, 60:100]).max() <= 1


def test_the_wall_meets_the_floor_where_the_pinhole_camera_says() -> None:
    scene = replace(sample_scene("video"), things=())
    still = replace(scene, camera=replace(scene.camera, sway=0.0, pan=0.0))
    frame = render_frames(still, [0.0])[0]
    foot = 96 + 1.1 * 192 * still.camera.height / still.room.depth
    floor = (frame == np.array(still.room.floor_rgb)).all(axis=2)
    assert floor[int(np.ceil(foot)) :].all() and not floor[: int(foot)].any()
    wall = np.unique(frame[0], axis=0)
    assert (
        len(wall) == 2 and (wall[1] == still.room.wall_rgb).all()
    )  # the wall's colour and its darker stripe


def test_near_things_hide_far_ones() -> None:
    scene = sample_scene("video")
    scene = replace(scene, camera=replace(scene.camera, sway=0.0, pan=0.0))
    near, far = Thing("ball", 0.0, 0.9, 3.0, 1.0), Thing("house", 0.0, 0.9, 5.0, 1.0)
    both = render_frames(replace(scene, things=(near, far)), [0.0])
    assert np.array_equal(both, render_frames(replace(scene, things=(far, near)), [0.0]))
    only = render_frames(replace(scene, things=(near,)), [0.0])
    assert np.array_equal(both[0, 96, 86:106], only[0, 96, 86:106])


def test_frame_times() -> None:
    assert frame_times(4.0, 10).shape == (40,) and frame_times(0.01, 10).tolist() == [0.0]


def test_a_missing_wheel_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="run: pave setup smol"):
        assets.sprite_file("1F3B9")
    with pytest.raises(ConfigError, match=r"not_there==1\.0.*pave setup smol"):
        assets.import_tool("not_there_at_all", "not_there==1.0")


def test_an_unknown_sprite_code_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="NOPE"):
        assets.sprite_file("NOPE")
    assert sprites.MASTER > 0
