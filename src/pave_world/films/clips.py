"""Films one scene into its media files: the unit of work of `make_world`.

It imports little, because every worker process imports it.

Beside its film ``NAME.mp4`` a clip has what its channel reads: ``NAME.npz`` (posed RGB-D frames of
a 3D scene), ``NAME-camera1.mp4`` and so on (further cameras), or ``NAME.csv`` (how the camera
moves). Sound and fast events are in the film itself.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pave.media import write_video
from pave.renamed import renamed
from pave_world.pictures.geometry import write_scene3d
from pave_world.pictures.motion_log import write_log
from pave_world.pictures.render import frame_times, render_frames
from pave_world.questions.pairs import partner_of
from pave_world.scenes.frames import SHORTEST, SLOWEST, TAKEN
from pave_world.scenes.sample import Version, sample_scene
from pave_world.scenes.scene import OLD_CHANNELS, Channel, Scene
from pave_world.scenes.seeds import Split
from pave_world.sound.mix import render_sound

SETTINGS = "world.json"
"""The note that says what the clips of a folder are."""
CLIPS = "clips"
"""Folder of the media files, below the world's folder."""

_GOOD = 20  # H.264 rate factors
# Fast events must leave no trace in frames that do not show them, and coding errors spread in time.
_LOSSLESS = 0
_FAST = ("frames", "motion")  # channels whose events lie between the frames that a base takes


class WorldSettings(BaseModel):
    """What the clips of one folder are; the same settings always give the same clips.

    Example:
        >>> WorldSettings(split="test").fps
        10.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version = Field(
        1,
        description="Version of the rules. In version 2, clips with two sounds may have one of "
        "them out of view; in version 1, both are always in the picture.",
    )
    pairs: bool = Field(
        False,
        description="Make clips in pairs that are asked the same question with different answers.",
    )
    channel: Channel = Field(
        "audio",
        description='What the clips hold. "audio": two things that could sound, with sound. '
        '"video": one to four things, without a sound track. "scene3d": depth, intrinsics and '
        'poses. "views": two further cameras. "frames": things that flash or dash by. "motion": a '
        "camera that moves between the frames, and a log of its motion.",
    )
    split: Split = Field(
        "train",
        description="Scenes of different splits never meet; only test shows unseen sprites and "
        "shades.",
    )
    seed: int = Field(0, ge=0, description="Seed of the data set.")
    duration: float = Field(4.0, gt=0, le=60, description="Length of a clip in seconds.")
    fps: float = Field(10.0, gt=0, le=25, description="Frames per second of the clips.")
    size: int = Field(
        192, ge=32, le=1024, multiple_of=2, description="Edge of the square picture in pixels."
    )
    rate: int = Field(16000, ge=8000, le=48000, description="Sound samples per second.")

    def scene(self, index: int) -> Scene:
        """What clip `index` shows."""

        def draw(number: int, take: int = 0) -> Scene:
            where = (self.channel, self.split, number, self.seed, self.duration)
            return sample_scene(*where, version=self.version, take=take)

        if self.pairs and index % 2:
            return partner_of(draw(index - 1), partial(draw, index))
        return draw(index)

    def note(self) -> dict[str, Any]:
        """What stands in the folder's note; notes of older worlds have no pairs in them."""
        found = self.model_dump()
        if not self.pairs:
            del found["pairs"]
        return found

    @model_validator(mode="before")
    @classmethod
    def _in_old_words(cls, values: Any) -> Any:
        """Folders that were made when a channel was a kind of world, and audio was called sound."""
        values = renamed(values, {"kind": "channel"}, SETTINGS)
        if isinstance(values, dict) and values.get("channel") in OLD_CHANNELS:
            return {**values, "channel": OLD_CHANNELS[values["channel"]]}
        return values

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        """Fast events need frames that show them and gaps that hide them."""
        if self.channel in _FAST and (self.fps < SLOWEST or self.duration < SHORTEST):
            raise ValueError(
                f'channel "{self.channel}" needs fps of {SLOWEST:g} or more and a duration of '
                f"{SHORTEST:g} seconds or more"
            )
        return self


def make_clip(out: Path, settings: WorldSettings, index: int) -> Path:
    """Film scene `index` into ``out/clips``; files that are there already are left alone.

    Raises:
        ConfigError: A wheel of the world is missing.
        MediaError: A file cannot be written.
    """
    scene = settings.scene(index)
    folder = out / CLIPS
    times = frame_times(settings.duration, settings.fps)
    # The film comes last: where it is there, the clip is whole. Every file is written under another
    # name and renamed, so what exists is whole too.
    if scene.channel == "scene3d":
        path = folder / f"{scene.name}.npz"
        if not path.exists():
            taken = np.linspace(0, len(times) - 1, TAKEN, dtype=np.int64)
            write_scene3d(path, scene, times[taken], settings.size)
    if scene.channel == "motion":
        path = folder / f"{scene.name}.csv"
        if not path.exists():
            write_log(path, scene)
    for view in range(1, len(scene.cameras) + 1):
        _film(folder / _camera_file(scene, view), scene, settings, view)
    return _film(folder / f"{scene.name}.mp4", scene, settings, view=0)


def channels_of(scene: Scene) -> dict[str, Any]:
    """Channels of a clip as its record names them: paths relative to the world's folder.

    Example:
        >>> channels_of(sample_scene("frames", "test"))
        {'frames': 'clips/test-frames-00000.mp4'}
    """
    stem = f"{CLIPS}/{scene.name}"
    if scene.channel == "video":
        return {}
    if scene.channel == "scene3d":
        return {"scene3d": f"{stem}.npz"}
    if scene.channel == "motion":
        return {"motion": f"{stem}.csv"}
    if scene.channel == "views":
        numbers = range(1, len(scene.cameras) + 1)
        return {"views": [f"{CLIPS}/{_camera_file(scene, view)}" for view in numbers]}
    return {scene.channel: f"{stem}.mp4"}


def _film(path: Path, scene: Scene, settings: WorldSettings, view: int) -> Path:
    """Film what one camera sees, with the sound if there is any; a film that exists stays."""
    if path.exists():
        return path
    times = frame_times(settings.duration, settings.fps)
    frames = render_frames(scene, times, settings.size, view)  # [F, size, size, 3]
    sound = None
    if scene.channel == "audio":
        sound = render_sound(scene, settings.rate)
    crf = _LOSSLESS if scene.channel in _FAST else _GOOD
    return write_video(path, frames, settings.fps, sound, settings.rate, crf=crf)


def _camera_file(scene: Scene, view: int) -> str:
    return f"{scene.name}-camera{view}.mp4"
