"""Questions that take further cameras: what is behind the screen or out of the picture, how many.

Two questions are asked about every scene and come first, so that under a limit no answer of theirs
is kept more often than another; what has a name is asked for only where something is hidden.
"""

from __future__ import annotations

import numpy as np

from pave_world.questions.question import Question, shuffled
from pave_world.scenes.catalog import NUMBERS, names, with_article
from pave_world.scenes.scene import Scene

VIEWS_FAMILIES = ("total", "hidden_number", "anything", "behind", "outside", "hidden")


def views_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """All questions about a scene that take its further cameras.

    In random order but for the rule above.
    """
    # Asked about every scene, so kept under every limit.
    always = [_how_many(scene, rng), _whether(scene, rng)]
    found = []
    if scene.outside is not None:
        found.append(_ask("outside", "What is outside the picture?", scene.outside.name))
    if scene.behind is not None:
        there = scene.behind.name
        other = _not_behind(scene, rng)
        found.append(_ask("behind", "What is behind the screen?", there))
        found.append(_ask("hidden", f"Is there {with_article(there)} behind the screen?", "yes"))
        found.append(_ask("hidden", f"Is there {with_article(other)} behind the screen?", "no"))
    return shuffled(rng, always) + shuffled(rng, found)


def _not_behind(scene: Scene, rng: np.random.Generator) -> str:
    """A thing that is hidden elsewhere, or else one that is not there at all."""
    if scene.outside is not None:
        return scene.outside.name
    absent = [name for name in names("sounding") if name not in scene.hidden]
    return str(rng.choice(absent))


def _how_many(scene: Scene, rng: np.random.Generator) -> Question:
    """How many things are hidden, or there are in all, by a fair coin."""
    if rng.random() < 0.5:
        return _ask("hidden_number", "How many things are hidden?", NUMBERS[len(scene.hidden)])
    # The screen is no thing: nobody could say whether to count it.
    everything = len(scene.things) + len(scene.hidden)
    return _ask("total", "How many things are there besides the screen?", NUMBERS[everything])


def _whether(scene: Scene, rng: np.random.Generator) -> Question:
    """Whether something is hidden in one of the two places, by a fair coin."""
    if rng.random() < 0.5:
        place, hidden = "behind the screen", scene.behind
    else:
        place, hidden = "outside the picture", scene.outside
    answer = "no" if hidden is None else "yes"
    return _ask("anything", f"Is anything {place}?", answer)


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "views")
