"""Version 2 of the world, whose sounds come from anywhere, and clips in pairs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pave.data import read_records
from pave.errors import ConfigError
from pave.metrics import exact_match
from pave.tasks.grids import pair_up
from pave_world import WorldSettings, make_world, questions_for, sample_scene
from pave_world.cli.world import world_verb
from pave_world.scenes.catalog import with_article
from pave_world.scenes.scene import Channel

SMALL = {"duration": 1.0, "fps": 5.0, "size": 64}
CHANNELS: tuple[Channel, ...] = ("audio", "scene3d", "views", "frames", "motion")


def test_two_sounds_come_from_anywhere() -> None:
    """Each of two sounds is out of view in 40 %, apart from the other; all else stays."""
    seen: Counter[int] = Counter()
    for index in range(1200):
        old, new = (sample_scene("audio", "train", index, version=v) for v in (1, 2))
        assert (old.things, old.room, old.mode) == (new.things, new.room, new.mode)
        for before, after in zip(old.events, new.events, strict=True):
            assert (before.start, before.end, before.level) == (after.start, after.end, after.level)
        if len(new.events) == 2:
            assert set(old.heard) <= set(old.visible) and len(set(new.heard)) == 2
            seen[sum(name in new.visible for name in new.heard)] += 1
        else:
            assert old.events == new.events
    shares = [seen[number] / seen.total() for number in range(3)]
    assert shares == pytest.approx([0.16, 0.48, 0.36], abs=0.05)
    other = sample_scene("views", "train", 3, version=2)
    assert other.things == sample_scene("views", "train", 3).things


@pytest.mark.slow
def test_what_is_in_view_does_not_tell_what_sounds() -> None:
    """Of things that are asked for, in view or not, half sound."""
    told: Counter[tuple[bool, str]] = Counter()
    for index in range(6000):
        scene = sample_scene("audio", "train", index, version=2)
        names = {with_article(name) for name in scene.visible}
        for question in questions_for(scene, None):
            if question.family == "exists":
                name = question.question.removeprefix("Can you hear ").rstrip("?")
                told[name in names, question.answer] += 1
    for view in (True, False):
        assert told[view, "yes"] / (told[view, "yes"] + told[view, "no"]) == pytest.approx(
            0.5, abs=0.03
        )


def test_the_side_of_a_sound_makes_no_cells_with_exchanged_sounds() -> None:
    """Another clip's sound has no side in this picture."""
    for version, need in ((1, "audio"), (2, "both")):
        needs: Counter[str] = Counter()
        for index in range(60):
            scene = sample_scene("audio", "train", index, version=version)
            for question in questions_for(scene, None):
                if question.family == "where":
                    needs[question.channel] += 1
        assert set(needs) == {need} and needs[need] > 5
    world = WorldSettings(channel="audio", split="test", pairs=True, version=2)
    for index in range(0, 24, 2):
        answers = {}
        for question in questions_for(world.scene(index), None):
            answers[question.question] = question.answer
        others = questions_for(world.scene(index + 1), None)
        shared = [one for one in others if answers.get(one.question, one.answer) != one.answer]
        assert "audio" in {question.channel for question in shared}


@pytest.mark.parametrize("channel", CHANNELS)
def test_pairs_share_a_question_and_not_its_answer(channel: Channel) -> None:
    world = WorldSettings(channel=channel, split="test", pairs=True, seed=5)
    plain = WorldSettings(channel=channel, split="test", seed=5)
    families = set()
    for index in range(0, 24, 2):
        first, second = world.scene(index), world.scene(index + 1)
        assert first == plain.scene(index) and second == world.scene(index + 1)
        assert second.index == index + 1
        asked = {question.question: question for question in questions_for(first, None)}
        shared = []
        for question in questions_for(second, None):
            known = asked.get(question.question, question)
            if question.channel == channel and known.answer != question.answer:
                shared.append(question.family)
        assert shared
        families.update(shared)
    assert len(families) >= 3


def test_records_of_pairs_meet_when_channels_are_exchanged(tmp_path: Path) -> None:
    assert world_verb(tmp_path / "plain", split="test", clips=1) == 0
    assert "pairs" not in json.loads((tmp_path / "plain" / "world.json").read_text())
    file = make_world(tmp_path / "a", "test", clips=6, pairs=True, version=2, **SMALL)
    records = read_records(file)
    grids = pair_up(records, "audio", exact_match, seed=3)
    assert len({pair.clips for pair in grids.pairs}) == 3
    for pair in grids.pairs:
        first, second = pair.records
        assert first.meta["pair"] == second.meta["pair"]
        assert first.video != second.video
    with pytest.raises(ConfigError, match="other settings"):
        make_world(tmp_path / "a", "test", clips=6, version=2, **SMALL)
    with pytest.raises(ConfigError, match="version"):
        make_world(tmp_path / "b", "test", clips=1, version=3)
