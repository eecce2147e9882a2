"""Draws scenes whose camera moves between the frames that a base takes.

The camera is back where it was before the next of those frames, so no pixel of them tells that
something happened. `pave_world.pictures.motion_log` has what a sensor on the camera measures. The
rules:

- one, two or three moves (a third each) in gaps drawn apart from the row, each of another kind;
- left or right is a fair coin, for a turn as for a lean.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from pave_world.scenes.draw import between, coin, count_of, pick
from pave_world.scenes.frames import TAKEN, gap, must_have_gaps, silent_row
from pave_world.scenes.layout import draw_camera, draw_room, stand_in_row
from pave_world.scenes.scene import Move, MoveKind

KINDS: tuple[MoveKind, ...] = get_args(MoveKind)
"""What the camera may do; each is also the word for it."""

_GAPS = TAKEN - 1
# How far each kind goes, from and to.
_SIZES = {
    "shake": (0.04, 0.07),  # radians
    "jump": (0.10, 0.20),  # metres
    "lean": (0.15, 0.30),  # metres
    "turn": (0.15, 0.30),  # radians
}
_SIDED = ("lean", "turn")


def motion_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """Everything of a scene with a moving camera but its name; see the module for the rules.

    Raises:
        ConfigError: The clip is too short for moves between its frames.
    """
    must_have_gaps(duration, "moves")
    row = silent_row(rng, unseen)
    room = draw_room(rng, unseen)
    camera = draw_camera(rng)
    things = stand_in_row(rng, row)
    moves = _moves(rng, duration)
    return {
        "mode": "move",
        "events": (),
        "room": room,
        "camera": camera,
        "things": things,
        "moves": moves,
    }


def _moves(rng: np.random.Generator, duration: float) -> tuple[Move, ...]:
    """One to three moves, each in a gap of its own."""
    count = count_of(rng, 1, _GAPS)
    order = rng.permutation(_GAPS)
    gaps = sorted(order[:count])
    kinds = pick(rng, KINDS, count)  # each once, so that "moves" counts kinds, too
    moves = []
    for number, kind in zip(gaps, kinds, strict=True):
        move = _move(rng, kind, int(number), duration)
        moves.append(move)
    return tuple(moves)


def _move(rng: np.random.Generator, kind: Any, number: int, duration: float) -> Move:
    """One move somewhere in a gap."""
    start, end = gap(number, duration)
    share = between(rng, 0.6, 0.9)  # of the gap
    length = (end - start) * share  # seconds
    begin = between(rng, start, end - length)
    size = between(rng, *_SIZES[kind])
    if kind in _SIDED and coin(rng):
        size = -size
    return Move(kind, begin, begin + length, size)
