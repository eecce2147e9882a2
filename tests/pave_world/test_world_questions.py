"""Questions: every answer is right, every family is balanced.

A picture alone never tells a sound answer.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import pytest

from helpers.balance import best_guess
from pave_world import AUDIO_FAMILIES, VIDEO_FAMILIES, Question, Scene, questions_for, sample_scene
from pave_world.scenes.catalog import SOUNDING, UNSEEN, WALLS, pool_of
from pave_world.scenes.scene import Channel

CLIPS = 3000


@lru_cache
def scenes(channel: Channel) -> list[Scene]:
    return [sample_scene(channel, "train", index) for index in range(CLIPS)]


@lru_cache
def asked(channel: Channel, limit: int | None = None) -> list[tuple[Scene, Question]]:
    return [
        (scene, question) for scene in scenes(channel) for question in questions_for(scene, limit)
    ]


def answers(
    channel: Channel, family: str, limit: int | None = None
) -> list[tuple[Scene, Question]]:
    return [
        (scene, question) for scene, question in asked(channel, limit) if question.family == family
    ]


def asked_for(question: Question, scene: Scene) -> str:
    return question.question.rstrip("?").split()[-1]


def test_all_families_are_asked() -> None:
    found = {question.family for channel in ("audio", "video") for _, question in asked(channel)}
    assert found == {*AUDIO_FAMILIES, *VIDEO_FAMILIES}


def test_the_same_scene_gives_the_same_questions_and_at_most_so_many() -> None:
    scene = sample_scene("audio", "val", 5)
    assert questions_for(scene) == questions_for(scene)
    assert len(questions_for(scene, 3)) == 3
    everything = questions_for(scene, None)
    assert set(questions_for(scene)) <= set(everything) and len(everything) == len(set(everything))
    assert {question.channel for question in questions_for(scene, 3)} == {"audio", "video"}


def right(scene: Scene, question: Question) -> bool:
    """Checks an answer from the scene, written apart from the generator."""
    row, heard, word = scene.visible, scene.heard, asked_for(question, scene)
    truth = {
        "heard": lambda: heard[0],
        "exists": lambda: "yes" if word in heard else "no",
        "first": lambda: min(scene.events, key=lambda event: event.start).name,
        "last": lambda: max(scene.events, key=lambda event: event.end).name,
        "louder": lambda: max(scene.events, key=lambda event: event.level).name,
        "where": lambda: "left" if heard[0] == row[0] else "right",
        "count": lambda: ("one", "two")[len(set(heard)) - 1],
        "left": lambda: row[0],
        "right": lambda: row[-1],
        "middle": lambda: row[1],
        "what": lambda: row[0],
        "seen": lambda: "yes" if word in row else "no",
        "colour": lambda: scene.room.wall,
        "number": lambda: ("one", "two", "three", "four")[len(row) - 1],
    }
    return bool(question.answer == truth[question.family]())


@pytest.mark.parametrize("channel", ["audio", "video"])
def test_answers_are_right_and_channels_are_told(channel: Channel) -> None:
    for scene, question in asked(channel):
        assert right(scene, question), (scene, question)
        assert question.channel == ("audio" if question.family in AUDIO_FAMILIES else "video")
    if channel == "video":
        assert all(question.channel == "video" for _, question in asked(channel))


@pytest.mark.parametrize("limit", [None, 8, 4])
@pytest.mark.parametrize("channel", ["audio", "video"])
def test_no_answer_of_a_family_is_a_good_guess(channel: Channel, limit: int | None) -> None:
    for family in {question.family for _, question in asked(channel, limit)}:
        rows = answers(channel, family, limit)
        chance = 1 / len({question.answer for _, question in rows})
        guess = best_guess([(None, question.answer) for _, question in rows])
        bound = 0.54 if chance == 0.5 else chance * 1.4
        assert guess < bound + len(rows) ** -0.5, (
            family
        )  # the last term: two standard errors of so many rows


def look(scene: Scene) -> dict[str, object]:
    """Cues a deaf model could use.

    From coarse to fine (finer ones would only remember single scenes).
    """
    return {
        "how many": len(scene.visible),
        "left": scene.visible[0],
        "right": scene.visible[-1],
        "wall": scene.room.wall,
    }


@pytest.mark.parametrize("family", ["exists", "where", "count"])
def test_a_deaf_model_is_at_chance_on_two_way_audio_questions(family: str) -> None:
    rows = answers("audio", family)
    for cue in look(rows[0][0]):
        assert (
            best_guess([(look(scene)[cue], question.answer) for scene, question in rows]) < 0.56
        ), cue


def test_a_deaf_model_is_at_chance_on_exists_even_with_the_asked_for_name() -> None:
    """Whether the thing asked for is visible, which side it is on.

    And its name: none tells yes from no.
    """
    rows = answers("audio", "exists")

    def place(scene: Scene, question: Question) -> object:
        word = asked_for(question, scene)
        return None if word not in scene.visible else scene.left_of(word)

    assert (
        best_guess([(place(scene, question), question.answer) for scene, question in rows]) < 0.54
    )
    assert (
        best_guess([(asked_for(question, scene), question.answer) for scene, question in rows])
        < 0.55
    )
    seen = [place(scene, question) is not None for scene, question in rows]
    assert 0.3 < sum(seen) / len(seen) < 0.9  # both ways of asking happen


@pytest.mark.parametrize(
    ("family", "chance"), [("heard", 0.3), ("first", 0.5), ("last", 0.5), ("louder", 0.5)]
)
def test_a_deaf_model_that_names_what_it_sees_is_at_chance(family: str, chance: float) -> None:
    """The best strategy without ears is to name the left or the right thing.

    Right as often as a coin (heard: 0.3).
    """
    rows = answers("audio", family)
    for side in (0, -1):
        hits = sum(scene.visible[side] == question.answer for scene, question in rows) / len(rows)
        assert abs(hits - chance) < 0.05
    pairs = [
        (frozenset((scene.visible[0], scene.visible[-1])), question.answer)
        for scene, question in rows
    ]
    popular = Counter(answer for _, answer in pairs)
    favourite = sum(
        max(pair, key=lambda name: popular[name]) == answer for pair, answer in pairs
    ) / len(pairs)
    assert favourite < chance + 0.06  # nor does preferring some classes help


def test_seen_is_balanced_for_every_pool_and_name() -> None:
    for channel in ("audio", "video"):
        rows = answers(channel, "seen")
        pools = [(pool_of(asked_for(question, scene)), question.answer) for scene, question in rows]
        assert best_guess(list(pools)) < 0.52
        named = [(asked_for(question, scene), question.answer) for scene, question in rows]
        assert best_guess(list(named)) < 0.57


def test_unseen_names_are_never_asked_for() -> None:
    for index in range(400):
        for channel in ("audio", "video"):
            for question in questions_for(sample_scene(channel, "test", index), None):
                assert question.answer not in UNSEEN and not any(
                    name in question.question for name in UNSEEN
                )


def test_questions_and_answers_are_short() -> None:
    for _, question in asked("audio"):
        assert len(question.question.split()) <= 10 and len(question.answer.split()) == 1
    assert {question.answer for _, question in answers("video", "colour")} == set(WALLS)


def test_the_sound_tells_nothing_about_control_questions() -> None:
    for scene, question in asked("audio", None):
        if question.channel == "video":
            assert question.family in {"colour", "number", "middle", "seen"}
            assert not any(name in f"{question.question} {question.answer}" for name in SOUNDING), (
                scene,
                question,
            )
