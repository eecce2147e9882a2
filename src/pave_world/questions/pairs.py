"""Clips in pairs that are asked the same and answer it differently, for `pave eval --swap`.

The second clip of a pair is drawn again and again until it shares a question with the first one and
answers it differently. Which kind of question that has to be is drawn among those of the first
clip, so that kinds that are rarely shared get their pairs, too. Both clips are ordinary scenes:
nothing in them tells that they belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    answers: dict[str, str] = {}
    for question in asked:
        answers[question.question] = question.answer
    ranks = _ranks(first, asked)
    best = draw(1)
    best_rank = len(ranks)  # worse than any
    for take in range(1, TAKES + 1):
        scene = _of_same_things(draw(take), first, take)
        rank = _best_shared(scene, answers, ranks)
        if rank < best_rank:
            best = scene
            best_rank = rank
        if best_rank == 0:
            break
    return best


def _ranks(first: Scene, asked: list[Question]) -> dict[str, int]:
    """Kind of question -> how welcome it is: 0 is the wanted one, the others are second best."""
    families = sorted({question.family for question in asked})
    rng = generator(first.seed, first.split, first.index, "pairs")
    order = rng.permutation(len(families))
    ranks: dict[str, int] = {}
    for rank, place in enumerate(order):
        family = families[place]
        ranks[family] = rank
    return ranks


def _best_shared(scene: Scene, answers: Mapping[str, str], ranks: Mapping[str, int]) -> int:
    """Rank of the best question that both clips are asked and answer differently.

    `len(ranks)` where there is none.
    """
    best = len(ranks)
    for question in _needing(scene):
        known = answers.get(question.question)
        if known is None or known == question.answer:  # not shared, or not different
            continue
        rank = ranks[question.family]
        best = min(best, rank)
    return best


def _needing(scene: Scene) -> list[Question]:
    """The questions that the channel answers without the picture."""
    everything = questions_for(scene, limit=None)
    return [question for question in everything if question.channel == scene.channel]


def _of_same_things(scene: Scene, first: Scene, take: int) -> Scene:
    """A 3D scene with the things of the first clip, in another order.

    Its questions name two or three things, which two scenes hardly ever have in common. Names are
    drawn apart from everything else, so this is a scene as good as the other.
    """
    same_number = len(scene.things) == len(first.things)
    # A sprite that training never showed has to stay in a clip that is marked as such.
    same_kind = scene.unseen == first.unseen
    if scene.channel != "scene3d" or not (same_number and same_kind):
        return scene
    rng = generator(first.seed, first.split, first.index, "pairs", part=take)
    order = rng.permutation(len(first.things))
    things = []
    for place, thing in zip(order, scene.things, strict=True):
        name = first.things[place].name
        things.append(replace(thing, name=name))
    return replace(scene, things=tuple(things))
