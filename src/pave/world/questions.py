"""Questions about a scene, in families: those that need the sound, and visual ones as control.

Control questions about sound scenes ask only for what the sound says nothing about (wall, number, silent things): what is heard
makes a thing more likely to be seen, so with weak eyes a model with ears would do better on a question about a sounding thing.

Two rules keep a deaf model at chance (tests check both on thousands of scenes):

- every family's answers are balanced, per asked-for name as well;
- ``exists``: in ``one`` clips both the sounding thing (yes) and a visible silent one (no) are asked for; in clips where both
  visible things sound, 40 % ask for one of them (yes) and one that is not there (no). With 40 % of the ``one`` clips sounding
  from out of view, "visible" and "out of view" are then each yes as often as no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pave.world.catalog import NUMBERS, SILENT, SOUNDING, WALLS, names, pool_of, with_article
from pave.world.scene import Scene
from pave.world.splits import generator

Need = Literal["audio", "video"]

SOUND_FAMILIES = ("heard", "exists", "first", "last", "louder", "where", "count")
VISUAL_FAMILIES = ("left", "right", "middle", "what", "seen", "colour", "number")
EXISTS_IN_BOTH = 0.4
"""Share of the clips with two sounds that get ``exists`` questions; follows from `sample.OFF_SCREEN`, see above."""


@dataclass(frozen=True)
class Question:
    """One question and its only right answer; ``needs`` says which sense it takes."""

    family: str
    question: str
    answer: str
    needs: Need


def questions_for(scene: Scene, limit: int | None = 8) -> list[Question]:
    """All questions of a scene, or a random choice of them; the same scene always gives the same ones.

    Args:
        scene: The scene.
        limit: At most so many. Questions that need sound come first, visual ones fill up; None gives all.

    Example:
        >>> from pave.world import sample_scene
        >>> sorted({q.needs for q in questions_for(sample_scene("sound"))})
        ['audio', 'video']
    """
    rng = generator(scene.seed, scene.split, scene.index, "questions", part=0 if scene.kind == "sound" else 1)
    sound = _shuffled(rng, _sound_questions(scene, rng), "count", 4)
    visual = _shuffled(rng, _visual_questions(scene, rng), "number", 2 if scene.kind == "sound" else 6)
    if limit is None:
        return sound + visual
    room = max(limit - len(sound), min(limit // 3, len(visual)))  # keep some control questions in every clip
    return sound[: limit - room] + visual[:room]


def _shuffled(rng: np.random.Generator, questions: list[Question], common: str, usual: int) -> list[Question]:
    """Shuffle; the family every scene has gets its place among a `usual` number of questions.

    Scenes with few questions would otherwise keep it more often under a limit, and its answer (how many) would be lopsided.
    """
    others = [question for question in questions if question.family != common]
    order = [others[i] for i in rng.permutation(len(others))]
    place = int(rng.integers(usual))
    return order[:place] + [question for question in questions if question.family == common] + order[place:]


def _sound_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    if scene.mode == "silent":
        return []
    found = [_ask("count", "How many things do you hear?", NUMBERS[len(scene.heard)])]
    if scene.mode == "one":
        found.append(_ask("heard", "What do you hear?", scene.heard[0]))
        if scene.heard[0] in scene.visible:
            side = "left" if scene.left_of(scene.heard[0]) else "right"
            found.append(_ask("where", "Is the sound on the left or on the right?", side))
    elif scene.mode == "sequence":
        found.append(_ask("first", "What do you hear first?", scene.heard[0]))
        found.append(_ask("last", "What do you hear last?", scene.heard[1]))
    else:
        found.append(_ask("louder", "What is louder?", max(scene.events, key=lambda event: event.level).name))
    return found + _exists(scene, rng)


def _exists(scene: Scene, rng: np.random.Generator) -> list[Question]:
    if scene.mode == "one":
        absent = [name for name in scene.visible if pool_of(name) == "sounding" and name not in scene.heard]
    elif rng.random() < EXISTS_IN_BOTH:
        absent = [name for name in names("sounding") if name not in scene.heard]
    else:
        return []
    pairs = ((str(rng.choice(scene.heard)), "yes"), (str(rng.choice(absent)), "no"))
    return [_ask("exists", f"Can you hear {with_article(name)}?", answer) for name, answer in pairs]


def _visual_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    row = scene.visible
    found = [
        _look("colour", "What colour is the wall?", scene.room.wall),
        _look("number", "How many things do you see?", NUMBERS[len(row)]),
    ]
    if scene.kind == "visual" and len(row) == 1:
        found.append(_look("what", "What do you see?", row[0]))
    elif scene.kind == "visual":
        found.append(_look("left", "What is on the left?", row[0]))
        found.append(_look("right", "What is on the right?", row[-1]))
    if len(row) == 3:
        found.append(_look("middle", "What is in the middle?", row[1]))
    # The words of unseen sprites were never learnt: they are shown to distract, not asked for.
    found = [question for question in found if question.answer in _ANSWERABLE]
    return found + _seen(scene, rng)


def _seen(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One yes and one no from the same pool, so that the asked-for name alone never tells the answer."""
    pools = ("silent",) if scene.kind == "sound" else ("silent", "sounding")
    known = [name for name in scene.visible if pool_of(name) in pools]
    if not known:
        return []
    present = str(rng.choice(known))
    absent = str(rng.choice([name for name in names(pool_of(present)) if name not in scene.visible]))
    pairs = ((present, "yes"), (absent, "no"))
    return [_look("seen", f"Do you see {with_article(name)}?", answer) for name, answer in pairs]


_ANSWERABLE = {*SOUNDING, *SILENT, *NUMBERS, *WALLS}


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "audio")


def _look(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "video")
