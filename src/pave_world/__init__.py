"""The embedded world: seeded scenes, their frames, sound, depth, cameras and questions.

Example:
    >>> from pave_world import sample_scene, questions_for
    >>> scene = sample_scene("audio", split="train", index=0)
    >>> questions_for(scene)[0].channel
    'audio'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave_world.films.clips import WorldSettings
    from pave_world.films.make import make_world
    from pave_world.pictures.geometry import camera_to_world, intrinsics, render_depth
    from pave_world.pictures.render import frame_times, render_frames
    from pave_world.questions.choose import AUDIO_FAMILIES, VIDEO_FAMILIES, questions_for
    from pave_world.questions.frames import FRAMES_FAMILIES
    from pave_world.questions.motion import MOTION_FAMILIES
    from pave_world.questions.question import Question
    from pave_world.questions.scene3d import SCENE3D_FAMILIES
    from pave_world.questions.views import VIEWS_FAMILIES
    from pave_world.scenes.sample import sample_scene
    from pave_world.scenes.scene import Scene
    from pave_world.sound.mix import render_sound

_HOMES = {
    "FRAMES_FAMILIES": "pave_world.questions.frames",
    "MOTION_FAMILIES": "pave_world.questions.motion",
    "Question": "pave_world.questions.question",
    "SCENE3D_FAMILIES": "pave_world.questions.scene3d",
    "AUDIO_FAMILIES": "pave_world.questions.choose",
    "Scene": "pave_world.scenes.scene",
    "VIEWS_FAMILIES": "pave_world.questions.views",
    "VIDEO_FAMILIES": "pave_world.questions.choose",
    "WorldSettings": "pave_world.films.clips",
    "camera_to_world": "pave_world.pictures.geometry",
    "frame_times": "pave_world.pictures.render",
    "intrinsics": "pave_world.pictures.geometry",
    "make_world": "pave_world.films.make",
    "questions_for": "pave_world.questions.choose",
    "render_depth": "pave_world.pictures.geometry",
    "render_frames": "pave_world.pictures.render",
    "render_sound": "pave_world.sound.mix",
    "sample_scene": "pave_world.scenes.sample",
}

__all__ = [
    "FRAMES_FAMILIES",
    "MOTION_FAMILIES",
    "SCENE3D_FAMILIES",
    "AUDIO_FAMILIES",
    "VIEWS_FAMILIES",
    "VIDEO_FAMILIES",
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
