"""Questions that take a high frame rate: what flashes or dashes by between the frames of a base.

What flashes, how many things, in which order, and on which side; what dashes by, and where to.
"""

from __future__ import annotations

import numpy as np

from pave_world.questions.question import Question, shuffled
from pave_world.scenes.catalog import NUMBERS, names, with_article
from pave_world.scenes.scene import Scene

FRAMES_FAMILIES = (
    "flash",
    "flashed",
    "flashes",
    "flash_first",
    "flash_last",
    "flash_side",
    "dash",
    "dashed",
    "direction",
)


def frames_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """All questions that take the frames between those that a base takes, in random order."""
    # Yes and no from one pool: the name alone tells nothing.
    there = str(rng.choice(scene.flashed))
    others = [name for name in names("sounding") if name not in scene.flashed]
    absent = str(rng.choice(others))
    if scene.mode == "dash":
        found = _about_dash(scene, there, absent)
    else:
        found = _about_flashes(scene, there, absent)
    return shuffled(rng, found)


def _about_dash(scene: Scene, there: str, absent: str) -> list[Question]:
    """What dashes by, and where to; one name that does and one that does not."""
    runner = scene.transients[0]
    direction = "right" if runner.travel > 0 else "left"
    return [
        _ask("dash", "What dashes by?", runner.thing.name),
        _ask("direction", "Does it dash to the left or to the right?", direction),
        _ask("dashed", f"Does {with_article(there)} dash by?", "yes"),
        _ask("dashed", f"Does {with_article(absent)} dash by?", "no"),
    ]


def _about_flashes(scene: Scene, there: str, absent: str) -> list[Question]:
    """What flashes, how much of it, and in which order or on which side."""
    number = NUMBERS[len(scene.flashed)]
    found = [
        _ask("flashed", f"Does {with_article(there)} flash?", "yes"),
        _ask("flashed", f"Does {with_article(absent)} flash?", "no"),
        _ask("flashes", "How many things flash?", number),
    ]
    first = scene.transients[0].thing
    if len(scene.flashed) == 1:  # else "the flash" would be one of several
        found.append(_ask("flash", "What flashes?", first.name))
        # X in metres, 0 in the middle of the picture.
        side = "left" if first.x < 0 else "right"
        found.append(_ask("flash_side", "Is the flash on the left or on the right?", side))
    else:
        found.append(_ask("flash_first", "What flashes first?", scene.flashed[0]))
        found.append(_ask("flash_last", "What flashes last?", scene.flashed[-1]))
    return found


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "frames")
