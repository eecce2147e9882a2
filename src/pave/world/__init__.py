"""The embedded audio-visual world: seeded scenes, their frames, sound and questions, for demo, tests and benchmarks.

Example:
    >>> from pave.world import sample_scene, questions_for
    >>> scene = sample_scene("sound", split="train", index=0)
    >>> questions_for(scene)[0].needs
    'audio'
"""

from __future__ import annotations

from pave.world.clips import WorldSettings
from pave.world.make import make_world
from pave.world.questions import SOUND_FAMILIES, VISUAL_FAMILIES, Question, questions_for
from pave.world.render import frame_times, render_frames
from pave.world.sample import sample_scene
from pave.world.scene import Scene
from pave.world.sounds import render_sound

__all__ = [
    "SOUND_FAMILIES",
    "VISUAL_FAMILIES",
    "Question",
    "Scene",
    "WorldSettings",
    "frame_times",
    "make_world",
    "questions_for",
    "render_frames",
    "render_sound",
    "sample_scene",
]
