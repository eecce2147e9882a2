"""Films one scene into one media file; the unit of work of `make_world`, light enough for a worker process."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pave.media import write_video
from pave.world.render import frame_times, render_frames
from pave.world.sample import sample_scene
from pave.world.scene import Kind
from pave.world.sounds import render_sound
from pave.world.splits import Split

CLIPS = "clips"
"""Folder of the media files, below the world's folder."""


class WorldSettings(BaseModel):
    """What the clips of one folder are; the same settings always give the same clips.

    Example:
        >>> WorldSettings(split="test").fps
        10.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(1, description="Raised when the same seed gives another world.")
    kind: Kind = Field(
        "sound", description='"sound": two things that could sound, with sound; "visual": one to four things, no sound track.'
    )
    split: Split = Field(
        "train", description="Scenes of different splits never meet; only test shows unseen sprites and shades."
    )
    seed: int = Field(0, ge=0, description="Seed of the data set.")
    duration: float = Field(4.0, gt=0, le=60, description="Length of a clip in seconds.")
    fps: float = Field(10.0, gt=0, le=25, description="Frames per second.")
    size: int = Field(192, ge=32, le=1024, multiple_of=2, description="Edge of the square picture in pixels.")
    rate: int = Field(16000, ge=8000, le=48000, description="Sound samples per second.")


def make_clip(out: Path, settings: WorldSettings, index: int) -> Path:
    """Film scene `index` into ``out/clips``; a clip that is there already is left alone.

    Raises:
        ConfigError: A wheel of the world is missing.
        MediaError: The file cannot be written.
    """
    scene = sample_scene(settings.kind, settings.split, index, settings.seed, settings.duration)
    path = out / CLIPS / f"{scene.name}.mp4"
    if path.exists():  # written under another name and renamed, so what exists is whole
        return path
    frames = render_frames(scene, frame_times(settings.duration, settings.fps), settings.size)
    sound = render_sound(scene, settings.rate) if scene.kind == "sound" else None
    return write_video(path, frames, settings.fps, sound, settings.rate)
