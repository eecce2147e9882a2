"""Questions about a scene, in families: those that need a channel, and visual ones as control.

Those that need depth, further cameras, a high frame rate or the camera's motion are in the modules
beside this one; here are those that need the sound, and the visual ones.

Control questions about sound scenes ask only for what the sound says nothing about (wall, number,
silent things): what is heard makes a thing more likely to be seen, so with weak eyes a model with
ears would do better on a question about a sounding thing. The other scenes keep to the same rule by
another way: what they hide or flash is never of the pool that their rows come from.

Two rules keep a deaf model at chance (tests check both on thousands of scenes):

- every family's answers are balanced, per asked-for name as well;
- ``exists``: in ``one`` clips both the sounding thing (yes) and a visible silent one (no) are asked
  for; in clips where both visible things sound, 40 % ask for one of them (yes) and one that is not
  there (no). With 40 % of the ``one`` clips sounding from out of view, "visible" and "out of view"
  are then each yes as often as no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from pave_world.questions.frames import frames_questions
from pave_world.questions.motion import motion_questions
from pave_world.questions.question import KNOWN, Question, shuffled
from pave_world.questions.scene3d import scene3d_questions
from pave_world.questions.views import views_questions
from pave_world.scenes.catalog import NUMBERS, WALLS, names, pool_of, with_article
from pave_world.scenes.scene import Channel, Scene, Screen, Thing
from pave_world.scenes.seeds import CHANNEL_PARTS, generator

AUDIO_FAMILIES = ("heard", "exists", "first", "last", "louder", "where", "count")
VIDEO_FAMILIES = ("left", "right", "middle", "what", "seen", "colour", "number")
EXISTS_IN_BOTH = 0.4
"""Share of the clips with two sounds that get ``exists`` questions.

Follows from `sample.OFF_SCREEN`, see above.
"""
EXISTS_IN_TWO = 2 / 3
"""The same share in version 2 of the world, where 40 % of two sounds are of things out of view.

Shares of all clips: in those with one sound a visible thing is asked for that sounds (0.3) or does
not (0.5), or one out of view that sounds (0.2). In the others, with a share s, a visible one that
sounds (0.3 s), or one out of view that sounds (0.2 s) or does not (0.5 s). With s = 2/3 "visible"
is yes and no in 0.5 each, and "out of view" in 1/3 each.
"""


def questions_for(scene: Scene, limit: int | None = 8) -> list[Question]:
    """All questions of a scene, or a random choice of them.

    The same scene always gives the same ones.

    Args:
        scene: The scene.
        limit: The most questions; None gives all. Those that need the channel come first, and
            visual ones fill up.

    Example:
        >>> from pave_world import sample_scene
        >>> sorted({q.channel for q in questions_for(sample_scene("audio"))})
        ['audio', 'video']
    """
    part = CHANNEL_PARTS[scene.channel]
    rng = generator(scene.seed, scene.split, scene.index, "questions", part=part)
    draw_channel = _CHANNEL_QUESTIONS[scene.channel]
    channel = draw_channel(scene, rng)
    # Drawn even where it is cut off below: later draws must not depend on the limit.
    visual = _video_questions(scene, rng)
    visual = _shuffled(rng, visual, common="number", usual=_USUAL[scene.channel])
    if limit is None:
        return channel + visual
    # A third of the questions are visual ones in every clip, as its control.
    kept = min(limit // 3, len(visual))
    kept = max(kept, limit - len(channel))
    return channel[: limit - kept] + visual[:kept]


def _shuffled(
    rng: np.random.Generator, questions: list[Question], common: str, usual: int
) -> list[Question]:
    """Shuffle; the family every scene has gets its place among a `usual` number of questions.

    Scenes with few questions would otherwise keep it more often under a limit, and its answer (how
    many) would be lopsided.
    """
    ours = []
    others = []
    for question in questions:
        if question.family == common:
            ours.append(question)
        else:
            others.append(question)
    order = shuffled(rng, others)
    place = int(rng.integers(usual))  # one draw, whatever the number of questions
    return order[:place] + ours + order[place:]


def _audio_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Questions that take the sound; which ones there are depends on how the clip sounds."""
    number = NUMBERS[len(scene.heard)]
    found = [_ask("count", "How many things do you hear?", number)]
    if scene.mode == "one":
        found += _about_one_sound(scene)
    elif scene.mode == "sequence":
        first, last = scene.heard
        found.append(_ask("first", "What do you hear first?", first))
        found.append(_ask("last", "What do you hear last?", last))
    else:
        loudest = max(scene.events, key=lambda event: event.level)
        found.append(_ask("louder", "What is louder?", loudest.name))
    found += _exists(scene, rng)
    return _shuffled(rng, found, common="count", usual=4)


def _about_one_sound(scene: Scene) -> list[Question]:
    """What sounds alone, and on which side it stands."""
    name = scene.heard[0]
    found = [_ask("heard", "What do you hear?", name)]
    if name in scene.visible:  # out of view it has no side
        side = "right"
        if scene.left_of(name):
            side = "left"
        where = _ask("where", "Is the sound on the left or on the right?", side)
        if scene.version == 2:  # the sound says what it is, the picture where that stands
            where = replace(where, channel="both")
        found.append(where)
    return found


def _exists(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One thing that sounds and one that does not; see the rules of this module."""
    share = EXISTS_IN_BOTH
    if scene.version == 2:
        share = EXISTS_IN_TWO
    silent = [name for name in names("sounding") if name not in scene.heard]
    if scene.mode == "one":
        absent = [name for name in scene.visible if name in silent]
    elif rng.random() < share:
        # Out of the picture, because in version 1 all that is visible sounds here.
        absent = [name for name in silent if name not in scene.visible]
    else:
        return []
    heard = str(rng.choice(scene.heard))
    unheard = str(rng.choice(absent))
    return [
        _ask("exists", f"Can you hear {with_article(heard)}?", "yes"),
        _ask("exists", f"Can you hear {with_article(unheard)}?", "no"),
    ]


def _video_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Questions that the picture alone answers."""
    row = scene.visible
    found = [_look("colour", "What colour is the wall?", scene.room.wall)]
    if scene.screen is None:  # whoever sees a screen may well count it
        found.append(_look("number", "How many things do you see?", NUMBERS[len(row)]))
    if scene.channel != "audio":
        found += _ends(scene)
    if len(row) == 3:  # only then is there a middle
        found.append(_look("middle", "What is in the middle?", row[1]))
    # An unseen sprite has no word that training ever gave it.
    found = [question for question in found if question.answer in _ANSWERABLE]
    return found + _seen(scene, rng)


def _ends(scene: Scene) -> list[Question]:
    """Who stands at the ends of the row; not at an end where the screen stands."""
    row = scene.things
    leftmost, rightmost = row[0], row[-1]
    if len(row) == 1:
        return [_look("what", "What do you see?", leftmost.name)]
    screen = scene.screen
    found = []
    if screen is None or _across(screen) > _across(leftmost):
        found.append(_look("left", "What is on the left?", leftmost.name))
    if screen is None or _across(screen) < _across(rightmost):
        found.append(_look("right", "What is on the right?", rightmost.name))
    return found


def _across(there: Thing | Screen) -> float:
    """Where something stands in the picture: 0 is the middle, and left of it is below 0."""
    return there.x / there.z


def _seen(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One yes and one no from the same pool, so that the name alone never tells the answer."""
    pools = ["silent"]
    if scene.channel != "audio":  # a sound would make its thing more likely to be seen
        pools.append("sounding")
    known = [name for name in scene.visible if pool_of(name) in pools]
    if not known:  # only sprites without a word
        return []
    present = str(rng.choice(known))
    pool = names(pool_of(present))
    others = [name for name in pool if name not in scene.visible]
    absent = str(rng.choice(others))
    return [
        _look("seen", f"Do you see {with_article(present)}?", "yes"),
        _look("seen", f"Do you see {with_article(absent)}?", "no"),
    ]


_ANSWERABLE = {*KNOWN, *NUMBERS, *WALLS}


def _ask(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "audio")


def _look(family: str, question: str, answer: str) -> Question:
    return Question(family, question, answer, "video")


def _none(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """A scene without a channel has no question about one."""
    # Draws one number all the same: `smol` was trained on what comes after it.
    return _shuffled(rng, [], common="count", usual=4)


Draw = Callable[[Scene, np.random.Generator], list[Question]]
_CHANNEL_QUESTIONS: Mapping[Channel, Draw] = MappingProxyType(
    {
        "audio": _audio_questions,
        "video": _none,
        "scene3d": scene3d_questions,
        "views": views_questions,
        "frames": frames_questions,
        "motion": motion_questions,
    }
)
# How many visual questions a scene of each kind usually has, see `_shuffled`.
_USUAL: Mapping[Channel, int] = MappingProxyType(
    {"audio": 2, "video": 6, "scene3d": 6, "views": 4, "frames": 6, "motion": 6}
)
