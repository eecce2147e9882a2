"""Films one scene into its media files; the unit of work of `make_world`, light enough for a worker process.

Beside its film ``NAME.mp4`` a clip has what its channel reads: ``NAME.npz`` (posed RGB-D frames of
a 3D scene), or ``NAME-camera1.mp4`` and so on (further cameras). Sound and fast events are in the
film itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pave.media import write_video
from pave_world.pictures.geometry import write_scene3d
from pave_world.pictures.render import frame_times, render_frames
from pave_world.scenes.sample import sample_scene
from pave_world.scenes.frames import SHORTEST, SLOWEST, TAKEN
from pave_world.scenes.scene import Kind, Scene
from pave_world.sound.mix import render_sound
from pave_world.scenes.seeds import Split

CLIPS = "clips"
"""Folder of the media files, below the world's folder."""

_GOOD = 20
_LOSSLESS = 0  # fast events must leave no trace in frames that do not show them, and coding errors spread over time


class WorldSettings(BaseModel):
    """What the clips of one folder are; the same settings always give the same clips.

    Example:
        >>> WorldSettings(split="test").fps
        10.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(1, description="Raised when the same seed gives another world.")
    kind: Kind = Field(
        "sound",
        description='"sound": two things that could sound, with sound; "visual": one to four things, no sound track; "scene3d":'
        ' with depth, intrinsics and poses; "views": with two further cameras; "frames": with things that flash or dash by.',
    )
    split: Split = Field(
        "train",
        description="Scenes of different splits never meet; only test shows unseen sprites and "
        "shades.",
    )
    seed: int = Field(0, ge=0, description="Seed of the data set.")
    duration: float = Field(4.0, gt=0, le=60, description="Length of a clip in seconds.")
    fps: float = Field(10.0, gt=0, le=25, description="Frames per second.")
    size: int = Field(
        192, ge=32, le=1024, multiple_of=2, description="Edge of the square picture in pixels."
    )
    rate: int = Field(16000, ge=8000, le=48000, description="Sound samples per second.")

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        """Fast events need frames that show them and gaps that hide them."""
        if self.kind == "frames" and (self.fps < SLOWEST or self.duration < SHORTEST):
            raise ValueError(
                f'kind "frames" needs fps of {SLOWEST:g} or more and a duration of {SHORTEST:g} seconds or more'
            )
        return self


def make_clip(out: Path, settings: WorldSettings, index: int) -> Path:
    """Film scene `index` into ``out/clips``; files that are there already are left alone.

    Raises:
        ConfigError: A wheel of the world is missing.
        MediaError: A file cannot be written.
    """
    scene = sample_scene(settings.kind, settings.split, index, settings.seed, settings.duration)
    for path, write in _jobs(out / CLIPS, scene, settings):
        if not path.exists():  # written under another name and renamed, so what exists is whole
            write(path)
    return out / CLIPS / f"{scene.name}.mp4"


def channels_of(scene: Scene) -> dict[str, Any]:
    """Channels of a clip as its record names them: paths relative to the world's folder.

    Example:
        >>> channels_of(sample_scene("frames", "test"))
        {'frames': 'clips/test-frames-00000.mp4'}
    """
    stem = f"{CLIPS}/{scene.name}"
    if scene.kind == "sound":
        return {"audio": f"{stem}.mp4"}
    if scene.kind == "scene3d":
        return {"scene3d": f"{stem}.npz"}
    if scene.kind == "views":
        return {
            "views": [
                f"{CLIPS}/{_camera_file(scene, view)}" for view in range(1, len(scene.cameras) + 1)
            ]
        }
    return {"frames": f"{stem}.mp4"} if scene.kind == "frames" else {}


def _jobs(
    folder: Path, scene: Scene, settings: WorldSettings
) -> Iterator[tuple[Path, Callable[[Path], Path]]]:
    """Every file of a clip with the function that writes it."""
    times = frame_times(settings.duration, settings.fps)

    def film(view: int) -> Callable[[Path], Path]:
        def write(path: Path) -> Path:
            sound = render_sound(scene, settings.rate) if scene.kind == "sound" else None
            frames = render_frames(scene, times, settings.size, view)
            crf = _LOSSLESS if scene.kind == "frames" else _GOOD
            return write_video(path, frames, settings.fps, sound, settings.rate, crf=crf)

        return write

    if scene.kind == "scene3d":
        taken = times[np.linspace(0, len(times) - 1, TAKEN, dtype=np.int64)]
        yield (
            folder / f"{scene.name}.npz",
            lambda path: write_scene3d(path, scene, taken, settings.size),
        )
    for view in range(1, len(scene.cameras) + 1):
        yield folder / _camera_file(scene, view), film(view)
    yield folder / f"{scene.name}.mp4", film(0)


def _camera_file(scene: Scene, view: int) -> str:
    return f"{scene.name}-camera{view}.mp4"
