"""Questions that take the camera's motion: what happens between the frames of a base.

They ask what the one who wears the camera does, how often, in which order, and to which side.
"camera" itself is the name of a sprite.
"""

from __future__ import annotations

import numpy as np

from pave_world.questions.question import Question, shuffled
from pave_world.scenes.catalog import NUMBERS
from pave_world.scenes.motion import KINDS
from pave_world.scenes.scene import Scene

MOTION_FAMILIES = ("move", "moved", "moves", "move_first", "move_last", "turn_side")


def motion_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """All questions that take the camera's motion, in random order."""
    done = [move.kind for move in scene.moves]
    absent = list(KINDS)
    for kind in done:
        absent.remove(kind)
    # One that happens and one that does not: the name alone tells nothing.
    there = str(rng.choice(done))
    elsewhere = str(rng.choice(absent))
    found = [
        _ask("moved", f"Does the wearer {there}?", "yes"),
        _ask("moved", f"Does the wearer {elsewhere}?", "no"),
        _ask("moves", "How many times does the wearer move?", NUMBERS[len(done)]),
    ]
    first, last = done[0], done[-1]
    if first == last:  # every move is of another kind, so there is only one
        found.append(_ask("move", "What does the wearer do?", first))
    else:
        found.append(_ask("move_first", "What does the wearer do first?", first))
        found.append(_ask("move_last", "What does the wearer do last?", last))
    found += _about_turn(scene)
    return shuffled(rng, found)


def _about_turn(scene: Scene) -> list[Question]:
    """To which side the wearer turns, if that happens."""
    found = []
    for move in scene.moves:
        if move.kind != "turn":
            continue
        side = "right"
        if move.size < 0:  # radians, to the left below 0
            side = "left"
        question = "Does the wearer turn to the left or to the right?"
        found.append(_ask("turn_side", question, side))
    return found


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "motion")
