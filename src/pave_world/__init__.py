"""The embedded world: seeded scenes, their frames, sound, depth, cameras and questions.

Example:
    >>> from pave_world import sample_scene, questions_for
    >>> scene = sample_scene("sound", split="train", index=0)
    >>> questions_for(scene)[0].needs
    'audio'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave_world.ask_frames import FRAMES_FAMILIES
    from pave_world.ask_scene3d import SCENE3D_FAMILIES
    from pave_world.ask_views import VIEWS_FAMILIES
    from pave_world.clips import WorldSettings
    from pave_world.geometry import camera_to_world, intrinsics, render_depth
    from pave_world.make import make_world
    from pave_world.question import Question
    from pave_world.questions import SOUND_FAMILIES, VISUAL_FAMILIES, questions_for
    from pave_world.render import frame_times, render_frames
    from pave_world.sample import sample_scene
    from pave_world.scene import Scene
    from pave_world.sounds import render_sound

_HOMES = {
    "FRAMES_FAMILIES": "pave_world.ask_frames",
    "Question": "pave_world.question",
    "SCENE3D_FAMILIES": "pave_world.ask_scene3d",
    "SOUND_FAMILIES": "pave_world.questions",
    "Scene": "pave_world.scene",
    "VIEWS_FAMILIES": "pave_world.ask_views",
    "VISUAL_FAMILIES": "pave_world.questions",
    "WorldSettings": "pave_world.clips",
    "camera_to_world": "pave_world.geometry",
    "frame_times": "pave_world.render",
    "intrinsics": "pave_world.geometry",
    "make_world": "pave_world.make",
    "questions_for": "pave_world.questions",
    "render_depth": "pave_world.geometry",
    "render_frames": "pave_world.render",
    "render_sound": "pave_world.sounds",
    "sample_scene": "pave_world.sample",
}

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
