"""The scenes that `smol` and the recorded results come from stay as they are, to the last bit.

Whatever others join them.
"""

from __future__ import annotations

import hashlib

import pytest

from pave_world import questions_for, render_frames, sample_scene
from pave_world.scenes.scene import Channel, Scene


def told(scene: Scene) -> bytes:
    """Everything that was drawn of a scene."""
    room = scene.room
    parts = (
        scene.name,
        scene.mode,
        scene.duration,
        room.wall,
        room.wall_rgb,
        room.floor_rgb,
        room.depth,
        room.stripe,
    )
    drawn = (*parts, scene.camera, scene.things, scene.events, scene.unseen)
    asked = repr(questions_for(scene, None)) + repr(questions_for(scene, 4))
    # The digests are of the time when a question's channel was called what it needs.
    return (repr(drawn) + asked.replace(", channel=", ", needs=")).encode()


@pytest.mark.parametrize(
    ("channel", "scenes", "frames"),
    [
        ("audio", "7f3c9b807d02c596", "95093118a4957cd7"),
        ("video", "d3be3b0ba5e367b6", "8e16442578a09dc7"),
    ],
)
def test_scenes_questions_and_frames_never_change(
    channel: Channel, scenes: str, frames: str
) -> None:
    texts, pixels = hashlib.sha256(), hashlib.sha256()
    for split in ("train", "val", "test"):
        for index in range(40):
            scene = sample_scene(channel, split, index, seed=3)
            texts.update(told(scene))
        pixels.update(render_frames(scene, [0.0, 1.7], 64).tobytes())
    assert (texts.hexdigest()[:16], pixels.hexdigest()[:16]) == (scenes, frames)
