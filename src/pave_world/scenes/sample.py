"""Draws scenes: which things, where, which wall, what sounds when.

`sample_scene` is the door to all kinds.

The rules that keep the picture silent about the sound (checked by tests as properties of the
generator):

- a sound scene always shows exactly two things that could sound, one left and one right, whatever
  is heard;
- ``one`` (half of the clips): in 40 % the sounding thing is out of view, else a fair coin picks the
  left or the right one;
- ``sequence`` and ``mix`` (a quarter each): both sound, and which one is first or louder is a fair
  coin. In version 2 each of the two sounds is in 40 % of something that is out of view. In version
  1 both are always in the picture, so that a model with weak ears may learn to choose between the
  two things that it sees.

What keeps it silent about depth, hidden things, flashes and moves is said in `scene3d_parts`,
`views_parts`, `frames_parts` and `motion_parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from pave_world.scenes.catalog import names
from pave_world.scenes.draw import between, coin, count_of, pick, pick_one
from pave_world.scenes.frames import frames_parts
from pave_world.scenes.layout import draw_camera, draw_room, draw_row, stand_in_row
from pave_world.scenes.motion import motion_parts
from pave_world.scenes.scene import Channel, Mode, Scene, SoundEvent, Thing
from pave_world.scenes.scene3d import scene3d_parts
from pave_world.scenes.seeds import A_TAKE, CHANNEL_PARTS, generator
from pave_world.scenes.views import views_parts

Version = Literal[1, 2]
"""Rules of the world; worlds of version 1 stay as they are."""
OFF_SCREEN = 0.4
"""Share of ``one`` clips whose sound comes from something that is not in the picture.

In version 2 it is the share of all sounds.
"""
UNSEEN_SHARE = 0.5
"""Share of test clips with a wall shade that training never has.

Those of them that show a third thing also have such a sprite.
"""


def sample_scene(
    channel: Channel = "audio",
    split: str = "train",
    index: int = 0,
    seed: int = 0,
    duration: float = 4.0,
    *,
    version: Version = 1,
    take: int = 0,
) -> Scene:
    """Draw one scene; the same arguments always give the same scene.

    Args:
        channel: ``"audio"`` (two things that could sound, sound events), ``"video"`` (one to four
            things, silent), ``"scene3d"`` (two or three things whose depth the picture hides),
            ``"views"`` (things that only further cameras see), ``"frames"`` (things that flash or
            dash by between the frames that a base takes) or ``"motion"`` (a camera that moves
            between them).
        split: ``"train"``, ``"val"`` or ``"test"``; only test scenes show unseen sprites and
            shades.
        index: Number of the clip in its split.
        seed: Seed of the data set.
        duration: Length in seconds; ``"frames"`` and ``"motion"`` need 2 or more.
        version: Rules of the world; 2 also lets two sounds come from out of view.
        take: Another scene for the same clip; 0 is the usual one.

    Raises:
        ConfigError: Unknown split, negative seed, or a clip too short for fast events.

    Example:
        >>> scene = sample_scene("audio", "train", index=3)
        >>> scene == sample_scene("audio", "train", index=3)
        True
    """
    part = CHANNEL_PARTS[channel] + take * A_TAKE
    rng = generator(seed, split, index, "scene", part=part)
    # Only a test split draws here, so its other draws differ from those of training anyway.
    unseen = split == "test" and bool(rng.random() < UNSEEN_SHARE)
    parts = _PARTS[channel](rng, unseen, duration)
    if version == 2 and channel == "audio":
        # Drawn last, so that all else is as in version 1.
        parts["events"] = _from_anywhere(rng, parts["events"], parts["things"])
    return Scene(
        channel=channel,
        seed=seed,
        split=split,
        index=index,
        duration=duration,
        unseen=unseen,
        version=version,
        **parts,
    )


def _audio_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """Two things that could sound, perhaps with a silent one between them, and what is heard."""
    row = _sound_row(rng, unseen)
    mode, events = _events(rng, (row[0], row[-1]), duration)
    return {
        "mode": mode,
        "events": events,
        "room": draw_room(rng, unseen),
        "camera": draw_camera(rng),
        "things": stand_in_row(rng, row),
    }


def _from_anywhere(
    rng: np.random.Generator, events: tuple[SoundEvent, ...], things: Sequence[Thing]
) -> tuple[SoundEvent, ...]:
    """Two sounds, each perhaps of something out of view; one sound stays as it is."""
    if len(events) == 1:
        return events
    shown = set()
    for thing in things:
        shown.add(thing.name)
    out_of_view = sorted(set(names("sounding")) - shown)
    # Two others, so that both may be out of view and still differ.
    others = pick(rng, tuple(out_of_view), len(events))
    found = []
    for event, other in zip(events, others, strict=True):
        if rng.random() < OFF_SCREEN:
            event = replace(event, name=other)
        found.append(event)
    return tuple(found)


def _video_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """One to four things, and nothing to hear."""
    row = _visual_row(rng, unseen)
    return {
        "mode": "silent",
        "events": (),
        "room": draw_room(rng, unseen),
        "camera": draw_camera(rng),
        "things": stand_in_row(rng, row),
    }


_PARTS: Mapping[Channel, Callable[[np.random.Generator, bool, float], dict[str, Any]]] = (
    MappingProxyType(
        {
            "audio": _audio_parts,
            "video": _video_parts,
            "scene3d": scene3d_parts,
            "views": views_parts,
            "frames": frames_parts,
            "motion": motion_parts,
        }
    )
)


def _sound_row(rng: np.random.Generator, unseen: bool) -> list[str]:
    left, right = pick(rng, names("sounding"), 2)
    if coin(rng):
        return [left, right]
    middle = pick_one(rng, names("unseen" if unseen else "silent"))
    return [left, middle, right]


def _visual_row(rng: np.random.Generator, unseen: bool) -> list[str]:
    count = count_of(rng, 1, 4)
    return draw_row(rng, names("sounding") + names("silent"), count, unseen and count > 1)


def _events(
    rng: np.random.Generator, pair: tuple[str, str], duration: float
) -> tuple[Mode, tuple[SoundEvent, ...]]:
    """What is heard: one sound, two in sequence, or two at once; see the module for the rules."""
    level = between(rng, -30.0, -20.0)  # dB below full scale
    first, second = pair
    if not coin(rng):
        first, second = second, first
    mode = str(rng.choice(["one", "one", "sequence", "mix"]))  # half, a quarter, a quarter
    if mode == "one":
        if rng.random() < OFF_SCREEN:
            out_of_view = tuple(name for name in names("sounding") if name not in pair)
            first = pick_one(rng, out_of_view)
        return "one", (SoundEvent(first, 0.0, duration, level),)
    if mode == "sequence":
        # Never the same moment, so that it cannot be learnt.
        cut = duration * between(rng, 0.44, 0.56)
        before = SoundEvent(first, 0.0, cut, level)
        after = SoundEvent(second, cut, duration, level)
        return "sequence", (before, after)
    # 10 dB: half as loud to an ear, so the answer is plain.
    softer = level - between(rng, 10.0, 14.0)
    louder = SoundEvent(first, 0.0, duration, level)
    return "mix", (louder, SoundEvent(second, 0.0, duration, softer))
