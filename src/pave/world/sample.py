"""Draws scenes: which things, where, which wall, what sounds when.

The rules that keep the picture silent about the sound (checked by tests as properties of the generator):

- a sound scene always shows exactly two things that could sound, one left and one right, whatever is heard;
- ``one`` (half of the clips): in 40 % the sounding thing is out of view, else a fair coin picks the left or the right one;
- ``sequence`` and ``mix`` (a quarter each): both sound, and which one is first or louder is a fair coin.
"""

from __future__ import annotations

import numpy as np

from pave.world.catalog import FLOORS, WALLS, Rgb, names
from pave.world.scene import Camera, Kind, Mode, Room, Scene, SoundEvent, Thing
from pave.world.splits import generator

OFF_SCREEN = 0.4
"""Share of ``one`` clips whose sound comes from something that is not in the picture."""
UNSEEN_SHARE = 0.5
"""Share of test clips with a shade, and of those with a third thing also a sprite, that training never has."""

_FOCAL = 1.1
_EYE = 1.4
_EXTENT = {1: (0.34, 0.64), 2: (0.28, 0.42), 3: (0.23, 0.29), 4: (0.19, 0.22)}
"""Edge of a sprite as a share of the image width, by the number of things in the row."""


def sample_scene(kind: Kind = "sound", split: str = "train", index: int = 0, seed: int = 0, duration: float = 4.0) -> Scene:
    """Draw one scene; the same arguments always give the same scene.

    Args:
        kind: ``"sound"`` (two things that could sound, sound events) or ``"visual"`` (one to four things, silent).
        split: ``"train"``, ``"val"`` or ``"test"``; only test scenes show unseen sprites and shades.
        index: Number of the clip in its split.
        seed: Seed of the data set.
        duration: Length in seconds.

    Raises:
        ConfigError: Unknown split or negative seed.

    Example:
        >>> scene = sample_scene("sound", "train", index=3)
        >>> scene == sample_scene("sound", "train", index=3)
        True
    """
    rng = generator(seed, split, index, "scene", part=0 if kind == "sound" else 1)
    unseen = split == "test" and bool(rng.random() < UNSEEN_SHARE)
    row = _sound_row(rng, unseen) if kind == "sound" else _visual_row(rng, unseen)
    mode: Mode = "silent"
    events: tuple[SoundEvent, ...] = ()
    if kind == "sound":
        mode, events = _events(rng, (row[0], row[-1]), duration)
    return Scene(
        kind=kind,
        mode=mode,
        seed=seed,
        split=split,
        index=index,
        duration=duration,
        room=_room(rng, unseen),
        camera=_camera(rng),
        things=_place(rng, row),
        events=events,
        unseen=unseen,
    )


def _draw(rng: np.random.Generator, pool: tuple[str, ...], count: int) -> list[str]:
    return [str(name) for name in rng.choice(np.array(pool), size=count, replace=False)]


def _sound_row(rng: np.random.Generator, unseen: bool) -> list[str]:
    left, right = _draw(rng, names("sounding"), 2)
    if rng.random() < 0.5:
        return [left, right]
    return [left, _draw(rng, names("unseen" if unseen else "silent"), 1)[0], right]


def _visual_row(rng: np.random.Generator, unseen: bool) -> list[str]:
    count = int(rng.integers(1, 5))
    row = _draw(rng, names("sounding") + names("silent"), count)
    if unseen and count > 1:
        row[int(rng.integers(count))] = _draw(rng, names("unseen"), 1)[0]
    return row


def _events(rng: np.random.Generator, pair: tuple[str, str], duration: float) -> tuple[Mode, tuple[SoundEvent, ...]]:
    base = float(rng.uniform(-30.0, -20.0))
    first, second = pair if rng.random() < 0.5 else pair[::-1]
    mode = str(rng.choice(["one", "one", "sequence", "mix"]))
    if mode == "one":
        if rng.random() < OFF_SCREEN:
            first = _draw(rng, tuple(name for name in names("sounding") if name not in pair), 1)[0]
        return "one", (SoundEvent(first, 0.0, duration, base),)
    if mode == "sequence":
        cut = duration * float(rng.uniform(0.44, 0.56))
        return "sequence", (SoundEvent(first, 0.0, cut, base), SoundEvent(second, cut, duration, base))
    softer = base - float(rng.uniform(10.0, 14.0))
    return "mix", (SoundEvent(first, 0.0, duration, base), SoundEvent(second, 0.0, duration, softer))


def _room(rng: np.random.Generator, unseen: bool) -> Room:
    wall = str(rng.choice(np.array(list(WALLS))))
    shade = float(rng.uniform(0.72, 0.85) if unseen else rng.uniform(0.85, 1.0))
    floor = FLOORS[int(rng.integers(len(FLOORS)))]
    return Room(
        wall=wall,
        wall_rgb=_scaled(WALLS[wall], shade),
        floor_rgb=_scaled(floor, float(rng.uniform(0.85, 1.0))),
        depth=float(rng.uniform(5.6, 6.6)),
        stripe=float(rng.uniform(0.3, 0.9)),
    )


def _scaled(colour: Rgb, factor: float) -> Rgb:
    red, green, blue = (round(part * factor) for part in colour)
    return red, green, blue


def _camera(rng: np.random.Generator) -> Camera:
    return Camera(
        focal=_FOCAL,
        height=_EYE,
        sway=float(rng.uniform(0.03, 0.12)),
        pan=float(np.deg2rad(rng.uniform(0.3, 1.2))),
        period=float(rng.uniform(4.0, 9.0)),
        phase=float(rng.uniform(0.0, 2 * np.pi)),
    )


def _place(rng: np.random.Generator, row: list[str]) -> tuple[Thing, ...]:
    """Stand the row in the room: each thing gets a slot of the image width, and is put back into space from there."""
    things = []
    for slot, name in enumerate(row):
        depth = float(rng.uniform(3.0, 5.2))
        metres = depth / _FOCAL  # width of the image at this depth
        extent = float(rng.uniform(*_EXTENT[len(row)]))
        room = max(0.0, 0.9 / len(row) - extent) / 2
        middle = 0.05 + 0.9 * (slot + 0.5) / len(row) + float(rng.uniform(-room, room))
        lower_edge = float(rng.uniform(max(0.55, extent + 0.06), 0.94))
        y = max(0.0, _EYE - (lower_edge - 0.5) * metres)
        things.append(Thing(name, (middle - 0.5) * metres, y, depth, extent * metres))
    return tuple(things)
