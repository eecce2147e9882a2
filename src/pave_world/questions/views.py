"""Questions that take further cameras: what is behind the screen, what is out of the picture.

How many things there are in all.

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
        found.append(_ask("behind", "What is behind the screen?", scene.behind.name))
        absent = [name for name in names("sounding") if name not in scene.hidden]
        other = scene.outside.name if scene.outside is not None else str(rng.choice(absent))
        found += [
            _ask("hidden", f"Is there {with_article(name)} behind the screen?", answer)
            for name, answer in ((scene.behind.name, "yes"), (other, "no"))
        ]
    return shuffled(rng, always) + shuffled(rng, found)


def _how_many(scene: Scene, rng: np.random.Generator) -> Question:
    if rng.random() < 0.5:
        return _ask("hidden_number", "How many things are hidden?", NUMBERS[len(scene.hidden)])
    # The screen is no thing: nobody could say whether to count it.
    everything = len(scene.things) + len(scene.hidden)
    return _ask("total", "How many things are there besides the screen?", NUMBERS[everything])


def _whether(scene: Scene, rng: np.random.Generator) -> Question:
    if rng.random() < 0.5:
        return _ask(
            "anything", "Is anything behind the screen?", "no" if scene.behind is None else "yes"
        )
    return _ask(
        "anything", "Is anything outside the picture?", "no" if scene.outside is None else "yes"
    )


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "views")
