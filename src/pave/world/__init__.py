"""The embedded world: seeded scenes, their frames, sound, depth, cameras and questions, for demo, tests and benchmarks.

Example:
    >>> from pave.world import sample_scene, questions_for
    >>> scene = sample_scene("sound", split="train", index=0)
    >>> questions_for(scene)[0].needs
    'audio'
"""

from __future__ import annotations

from pave.world.ask_frames import FRAMES_FAMILIES
from pave.world.ask_scene3d import SCENE3D_FAMILIES
from pave.world.ask_views import VIEWS_FAMILIES
from pave.world.clips import WorldSettings
from pave.world.geometry import camera_to_world, intrinsics, render_depth
from pave.world.make import make_world
from pave.world.question import Question
from pave.world.questions import SOUND_FAMILIES, VISUAL_FAMILIES, questions_for
from pave.world.render import frame_times, render_frames
from pave.world.sample import sample_scene
from pave.world.scene import Scene
from pave.world.sounds import render_sound

__all__ = [
    "FRAMES_FAMILIES",
    "SCENE3D_FAMILIES",
    "SOUND_FAMILIES",
    "VIEWS_FAMILIES",
    "VISUAL_FAMILIES",
    "Question",
    "Scene",
    "WorldSettings",
    "camera_to_world",
    "frame_times",
    "intrinsics",
    "make_world",
    "questions_for",
    "render_depth",
    "render_frames",
    "render_sound",
    "sample_scene",
]
