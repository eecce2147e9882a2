"""What holds for every scene with a channel of its own: balance with and without cues.

Right controls, short questions.
"""

from __future__ import annotations

from functools import lru_cache

import pytest

from helpers.balance import best_guess
from pave_world import (
    FRAMES_FAMILIES,
    MOTION_FAMILIES,
    SCENE3D_FAMILIES,
    VIDEO_FAMILIES,
    VIEWS_FAMILIES,
    Question,
    Scene,
    questions_for,
    sample_scene,
)
from pave_world.scenes.catalog import SILENT, SOUNDING, UNSEEN, pool_of
from pave_world.scenes.motion import KINDS
from pave_world.scenes.scene import Channel

CLIPS = 3000
FAMILIES: dict[Channel, tuple[str, ...]] = {
    "scene3d": SCENE3D_FAMILIES,
    "views": VIEWS_FAMILIES,
    "frames": FRAMES_FAMILIES,
    "motion": MOTION_FAMILIES,
}
NUMBERS = ("zero", "one", "two", "three", "four")
Asked = list[tuple[Scene, Question]]


@lru_cache
def asked(channel: Channel, split: str = "train", limit: int | None = None) -> Asked:
    scenes = (sample_scene(channel, split, index) for index in range(CLIPS))
    return [(scene, question) for scene in scenes for question in questions_for(scene, limit)]


def of_family(channel: Channel, family: str, limit: int | None = None) -> Asked:
    return [
        (scene, question)
        for scene, question in asked(channel, "train", limit)
        if question.family == family
    ]


def named(question: Question) -> tuple[str, ...]:
    """Names in the question, in order."""
    words = (
        question.question.replace(".", " ").replace(",", " ").replace(";", " ").rstrip("?").split()
    )
    return tuple(word for word in words if word in SOUNDING or word in SILENT or word in UNSEEN)


@pytest.mark.parametrize("channel", FAMILIES)
def test_all_families_are_asked_and_say_what_they_need(channel: Channel) -> None:
    found = {(question.family, question.channel) for _, question in asked(channel)}
    assert {family for family, needed in found if needed == channel} == set(FAMILIES[channel])
    assert {family for family, needed in found if needed == "video"} >= {
        "colour",
        "seen",
        "left",
        "right",
    }
    assert {family for family, needed in found if needed == "video"} <= set(VIDEO_FAMILIES)
    assert len(found) == len({family for family, _ in found})


@pytest.mark.parametrize("channel", FAMILIES)
def test_the_same_scene_gives_the_same_questions_and_at_most_so_many(channel: Channel) -> None:
    for index in range(20):
        scene = sample_scene(channel, "test", index)
        everything = questions_for(scene, None)
        assert questions_for(scene) == questions_for(scene) and set(questions_for(scene)) <= set(
            everything
        )
        assert len(everything) == len(set(everything)) and len(questions_for(scene, 3)) == 3
        assert {question.channel for question in questions_for(scene, 3)} == {channel, "video"}


@pytest.mark.parametrize("limit", [None, 8, 4])
@pytest.mark.parametrize("channel", FAMILIES)
def test_no_answer_of_a_family_is_a_good_guess(channel: Channel, limit: int | None) -> None:
    for family in {question.family for _, question in asked(channel, "train", limit)}:
        rows = of_family(channel, family, limit)
        chance = 1 / len({question.answer for _, question in rows})
        bound = 0.54 if chance == 0.5 else chance * 1.4
        guess = best_guess((None, question.answer) for _, question in rows)
        assert guess < bound + len(rows) ** -0.5, (
            family,
            guess,
        )  # the last term: two standard errors of so many rows


def look(scene: Scene, question: Question) -> dict[str, object]:
    """Cues that the main picture and the question give, each with few values."""
    names = named(question)
    return {
        "how many": len(scene.visible),
        "wall": scene.room.wall,
        "size of the left one": round(8 * scene.things[0].height / scene.things[0].z),
        "place of the left one": round(8 * scene.things[0].x / scene.things[0].z),
        "height of the left one": round(8 * (scene.things[0].y - 1.4) / scene.things[0].z),
        "screen": scene.screen and round(8 * scene.screen.x / scene.screen.z),
        "asked for": names[:1],
        "order of the asked for": tuple(
            scene.visible.index(name) for name in names if name in scene.visible
        ),
    }


@pytest.mark.parametrize("channel", FAMILIES)
def test_no_cue_of_the_main_picture_tells_a_two_way_answer(channel: Channel) -> None:
    for family in FAMILIES[channel]:
        rows = of_family(channel, family)
        if len({question.answer for _, question in rows}) > 4:
            continue
        chance = best_guess((None, question.answer) for _, question in rows)
        looks = [look(scene, question) for scene, question in rows]
        for cue in looks[0]:
            told = best_guess(
                (seen[cue], question.answer)
                for seen, (_, question) in zip(looks, rows, strict=True)
            )
            cells = len({seen[cue] for seen in looks})
            spread = (
                0.8 * (cells / len(rows)) ** 0.5
            )  # what chance adds when the best of every cell is taken
            assert told < max(chance, 0.5 if chance > 0.4 else 0.0) + 0.03 + spread, (
                family,
                cue,
                told,
                chance,
            )


@pytest.mark.parametrize("channel", FAMILIES)
def test_controls_are_right(channel: Channel) -> None:
    for scene, question in asked(channel):
        if question.channel != "video":
            continue
        row = scene.visible
        truth = {
            "left": lambda row=row: row[0],
            "right": lambda row=row: row[-1],
            "middle": lambda row=row: row[1],
            "what": lambda row=row: row[0],
            "seen": lambda row=row, question=question: "yes" if named(question)[0] in row else "no",
            "colour": lambda scene=scene: scene.room.wall,
            "number": lambda row=row: NUMBERS[len(row)],
        }
        assert question.answer == truth[question.family](), (scene.name, question)


@pytest.mark.parametrize("channel", ["views", "frames"])
def test_what_is_seen_and_what_is_secret_never_share_a_pool(channel: Channel) -> None:
    """So the channel says nothing about a control question.

    The picture says nothing about a name.
    """
    for scene, question in asked(channel, "test"):
        assert {pool_of(name) for name in scene.visible} <= {"silent", "unseen"}
        assert {pool_of(name) for name in (*scene.hidden, *scene.flashed)} <= {"sounding"}
        wanted = SOUNDING if question.channel == channel else SILENT
        assert all(name in wanted for name in named(question)), question


@pytest.mark.parametrize("channel", FAMILIES)
def test_unseen_names_are_never_asked_for(channel: Channel) -> None:
    for _, question in asked(channel, "test"):
        assert not set(named(question)) & set(UNSEEN) and question.answer not in UNSEEN


@pytest.mark.parametrize("channel", FAMILIES)
def test_answers_are_one_word(channel: Channel) -> None:
    for _, question in asked(channel):
        assert (
            question.answer in {*SOUNDING, *SILENT, *NUMBERS, *KINDS, "yes", "no", "left", "right"}
            or question.family == "colour"
        )
        assert len(question.question.split()) <= 11 or question.family == "situated"
