"""Questions that take a high frame rate: what flashed, how many, in which order, on which side.

Where something dashed.
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
    """All questions about a scene that take the frames between those that a base takes.

    In random order.
    """
    # Yes and no from one pool: the name alone tells nothing.
    there = str(rng.choice(scene.flashed))
    absent = str(rng.choice([name for name in names("sounding") if name not in scene.flashed]))
    pairs = ((there, "yes"), (absent, "no"))
    first = scene.transients[0]
    if scene.mode == "dash":
        found = [
            _ask("dash", "What dashes by?", first.thing.name),
            _ask(
                "direction",
                "Does it dash to the left or to the right?",
                "right" if first.travel > 0 else "left",
            ),
            *(
                _ask("dashed", f"Does {with_article(name)} dash by?", answer)
                for name, answer in pairs
            ),
        ]
        return shuffled(rng, found)
    found = [_ask("flashed", f"Does {with_article(name)} flash?", answer) for name, answer in pairs]
    found.append(_ask("flashes", "How many things flash?", NUMBERS[len(scene.flashed)]))
    if len(scene.flashed) == 1:
        found.append(_ask("flash", "What flashes?", first.thing.name))
        # X in metres, 0 in the middle of the picture.
        side = "left" if first.thing.x < 0 else "right"
        found.append(_ask("flash_side", "Is the flash on the left or on the right?", side))
    else:
        found.append(_ask("flash_first", "What flashes first?", scene.flashed[0]))
        found.append(_ask("flash_last", "What flashes last?", scene.flashed[-1]))
    return shuffled(rng, found)


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "frames")
