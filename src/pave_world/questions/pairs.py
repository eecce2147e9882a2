"""Clips in pairs that are asked the same and answer it differently, for `pave eval --swap`.

The second clip of a pair is drawn again and again until it is asked a question of the first one and
has another answer. Which kind of question that is goes round among those of the first clip, so that
kinds that are rarely shared get their pairs, too. Both clips are ordinary scenes: nothing in them
tells that they belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pave_world.questions.choose import questions_for
from pave_world.questions.question import Question
from pave_world.scenes.scene import Scene
from pave_world.scenes.seeds import generator

TAKES = 300
"""Most scenes that are drawn for a partner."""


def pair_of(scene: Scene) -> str:
    """Name of the pair that a clip belongs to: clips 0 and 1 are the first one.

    Example:
        >>> from pave_world import sample_scene
        >>> pair_of(sample_scene("views", "test", 7))
        'test-views-pair-00003'
    """
    return f"{scene.split}-{scene.channel}-pair-{scene.index // 2:05d}"


def partner_of(first: Scene, draw: Callable[[int], Scene]) -> Scene:
    """The scene that shares a question with `first` and has another answer to it.

    Args:
        first: The first clip of the pair.
        draw: Number of a take, from 1 on -> a scene for the second clip.

    Returns:
        One that shares the wanted kind of question; if none is found, the one with the kind that
        comes next, and without any at all the first take.
    """
    asked = _needing(first)
    rng = generator(first.seed, first.split, first.index, "pairs")
    families = sorted({question.family for question in asked})
    # The first is wanted; the others are better than nothing.
    order = [families[place] for place in rng.permutation(len(families))]
    answers = {question.question: question.answer for question in asked}
    best = draw(1)
    rank = len(order)
    for take in range(1, TAKES + 1):
        scene = _of_same_things(draw(take), first, take)
        for question in _needing(scene):
            known = answers.get(question.question, question.answer)
            if known != question.answer and order.index(question.family) < rank:
                best, rank = scene, order.index(question.family)
        if rank == 0:
            break
    return best


def _needing(scene: Scene) -> list[Question]:
    """The questions that need the channel."""
    return [question for question in questions_for(scene, None) if question.channel != "video"]


def _of_same_things(scene: Scene, first: Scene, take: int) -> Scene:
    """A 3D scene with the things of the first clip, in another order.

    Its questions name two or three things, which two scenes hardly ever have in common. Names are
    drawn apart from everything else, so this is a scene as good as the other.
    """
    alike = len(scene.things) == len(first.things) and scene.unseen == first.unseen
    if scene.channel != "scene3d" or not alike:
        return scene
    rng = generator(first.seed, first.split, first.index, "pairs", part=take)
    order = rng.permutation(len(first.things))
    things = []
    for place, thing in zip(order, scene.things, strict=True):
        renamed = replace(thing, name=first.things[place].name)
        things.append(renamed)
    return replace(scene, things=tuple(things))
