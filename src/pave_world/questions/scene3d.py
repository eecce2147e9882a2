"""Questions that take depth: what is nearer or in front, how far it is, on whose left it is.

Answers are balanced because distances are exchangeable between the slots of the row (see
`sample_scene3d`), whatever names they have; of a pair it is drawn which one is asked about first.
"""

from __future__ import annotations

import numpy as np

from pave_world.questions.question import KNOWN, Question, shuffled
from pave_world.scenes.catalog import NUMBERS
from pave_world.scenes.scene import Scene, Thing
from pave_world.scenes.scene3d import distance, side_of_line

SCENE3D_FAMILIES = (
    "nearest",
    "farthest",
    "nearer",
    "farther",
    "side",
    "front",
    "situated",
    "metres",
)


def scene3d_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """All questions about a 3D scene that take depth, in random order.

    Where a sprite of unknown name is in the row, nothing is asked that it might be the answer to:
    only the known ones would be left to name.
    """
    row = scene.things
    known = [thing for thing in row if thing.name in KNOWN]  # two at least, see `scene3d_parts`
    order = rng.permutation(len(known))
    one = known[order[0]]
    other = known[order[1]]
    metres = distance(scene, one)
    near_one = metres < distance(scene, other)
    found = [
        _compare(rng, one, other, near_one),
        _in_front(rng, one, other, near_one),
        _ask("metres", f"How many metres away is the {one.name}?", NUMBERS[round(metres)]),
    ]
    ranked = sorted(row, key=lambda thing: distance(scene, thing))
    nearest = ranked[0]
    farthest = ranked[-1]
    question = "Is the nearest thing on the left or on the right?"
    if nearest is row[0]:
        found.append(_ask("side", question, "left"))
    elif nearest is row[-1]:
        found.append(_ask("side", question, "right"))
    if len(known) == len(row):
        found.append(_ask("nearest", "What is nearest?", nearest.name))
        found.append(_ask("farthest", "What is farthest away?", farthest.name))
    if len(known) == 3:
        found.append(_situated(rng, row))
    return shuffled(rng, found)


def _compare(rng: np.random.Generator, one: Thing, other: Thing, near_one: bool) -> Question:
    """Which of two is nearer, or farther, by a fair coin."""
    nearer = bool(rng.random() < 0.5)
    family = "nearer" if nearer else "farther"
    # Asked for the farther one, the answer is the other of the two.
    answer = one if nearer == near_one else other
    return _ask(family, f"Which is {family}, the {one.name} or the {other.name}?", answer.name)


def _in_front(rng: np.random.Generator, one: Thing, other: Thing, near_one: bool) -> Question:
    """Whether one is in front of the other, or behind it, by a fair coin."""
    in_front = bool(rng.random() < 0.5)
    order = "in front of" if in_front else "behind"
    answer = "yes" if near_one == in_front else "no"
    return _ask("front", f"Is the {one.name} {order} the {other.name}?", answer)


def _situated(rng: np.random.Generator, row: tuple[Thing, ...]) -> Question:
    """On which side the middle is for somebody at one end of the row who faces the other."""
    start, middle, end = row
    if rng.random() >= 0.5:
        start, end = end, start
    side = "left" if side_of_line(start, end, middle) > 0 else "right"
    where = f"You stand at the {start.name} and face the {end.name}."
    return _ask("situated", f"{where} Is the {middle.name} on your left or right?", side)


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "scene3d")
