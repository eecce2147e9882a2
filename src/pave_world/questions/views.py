"""Questions that take further cameras: what is behind the screen or out of the picture, how many.

Two questions are asked about every scene, and they come first: a limit on the questions of a clip
then keeps them in every clip, so that none of their answers becomes more frequent than another.
Names are asked for only where something is hidden.
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
    named = _about_outside(scene)
    named += _about_behind(scene, rng)
    return shuffled(rng, always) + shuffled(rng, named)


def _about_outside(scene: Scene) -> list[Question]:
    """What stands beside the main camera, if anything does."""
    if scene.outside is None:
        return []
    name = scene.outside.name
    return [_ask("outside", "What is outside the picture?", name)]


def _about_behind(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """What stands behind the screen, if anything does: by name, and one yes and one no."""
    if scene.behind is None:
        return []
    there = scene.behind.name
    elsewhere = _not_behind(scene, rng)
    is_there = f"Is there {with_article(there)} behind the screen?"
    is_elsewhere = f"Is there {with_article(elsewhere)} behind the screen?"
    return [
        _ask("behind", "What is behind the screen?", there),
        _ask("hidden", is_there, "yes"),
        _ask("hidden", is_elsewhere, "no"),
    ]


def _not_behind(scene: Scene, rng: np.random.Generator) -> str:
    """A thing that is hidden elsewhere, or else one that is not there at all."""
    if scene.outside is not None:
        return scene.outside.name
    # What may be hidden is of the sounding names, in every scene.
    absent = [name for name in names("sounding") if name not in scene.hidden]
    return str(rng.choice(absent))


def _how_many(scene: Scene, rng: np.random.Generator) -> Question:
    """How many things are hidden, or there are in all, by a fair coin."""
    hidden = len(scene.hidden)
    if rng.random() < 0.5:
        number = NUMBERS[hidden]
        return _ask("hidden_number", "How many things are hidden?", number)
    # The screen is no thing: nobody could say whether to count it.
    everything = len(scene.things) + hidden
    number = NUMBERS[everything]
    return _ask("total", "How many things are there besides the screen?", number)


def _whether(scene: Scene, rng: np.random.Generator) -> Question:
    """Whether something is hidden in one of the two places, by a fair coin."""
    if rng.random() < 0.5:
        place = "behind the screen"
        hidden = scene.behind
    else:
        place = "outside the picture"
        hidden = scene.outside
    answer = "yes"
    if hidden is None:
        answer = "no"
    return _ask("anything", f"Is anything {place}?", answer)


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, channel="views")
