"""`make conflict`: arms that differ in what teaches them, seeds pooled, honest verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pave.data import Record, Turn, write_records
from pave.evaluate.arm_files import row_of, write_rows
from pave.metrics import exact_match
from pave.tasks import EXACT, get_task
from pave.tasks.grids import pair_up
from pave_world.demo.config import DemoConfig

CLIPS = 24
Say = Callable[[str, str], str]
"""(what is seen, what is heard) -> the answer."""


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import conflict_page
    import pooled

    for module in (conflict_page, pooled):
        monkeypatch.setattr(module, "RESAMPLES", 100)  # no interval is looked at closely


def world_of(out: Path, seed: int) -> DemoConfig:
    settings = {"seed": seed, "steps": 10, "out": out / str(seed)}
    return DemoConfig.model_validate(settings).resolved()


def records_of() -> list[Record]:
    """A clip shows and sounds like a dog or like a cat, and is asked for both."""
    return [
        Record(
            id=f"{clip}-{family}",
            video=f"{clip}.mp4",
            channels={"audio": f"{clip}.wav"},
            turns=[Turn(question=question, answer="dog" if clip % 2 else "cat")],
            meta={"channel": need, "family": family},
        )
        for clip in range(CLIPS)
        for need, family, question in (
            ("audio", "heard", "What do you hear?"),
            ("audio", "count", "How many do you hear?"),
            ("video", "seen", "What do you see?"),
        )
    ]


def kept(*worlds: DemoConfig) -> list[Any]:
    """What is kept of worlds that lie side by side."""
    from conflict_answers import read_kept

    return read_kept([world.seed for world in worlds], worlds[0].out.parent / "measured")


def finish(world: DemoConfig, arm: Any, say: Say, *, exchanged: bool = True) -> None:
    """An arm without the training, that answers from what is seen and heard."""
    from conflict_answers import keep

    records = records_of()
    file = world.world("test") / "records.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_records(file, records)
    task = get_task(EXACT)
    answer = {record.video: record.answers or [record.turns[0].answer] for record in records}
    sounds = {f"{clip}.wav": answer[f"{clip}.mp4"][0] for clip in range(CLIPS)}
    for name in (arm.name, f"{arm.name}-{arm.control}"):
        folder = world.out / "eval" / name
        folder.mkdir(parents=True)
        rows = []
        for record in records:
            truth = str(answer[record.video][0])
            rows.append(row_of(task, record, "arm", say(truth, truth)))
        write_rows(folder / "arm.jsonl", rows)
    runs = world.out / "runs"
    runs.mkdir(exist_ok=True)
    (runs / f"{arm.name}.json").write_text(json.dumps({"cpu_seconds": 10.0 * world.seed}))
    if arm.hears and exchanged:
        _exchange(world, arm, say, records, sounds)
    keep(world, arm, root=world.out.parent / "measured")


def _exchange(
    world: DemoConfig, arm: Any, say: Say, records: list[Record], sounds: dict[str, str]
) -> None:
    """Its answers to the cells, and its margins."""
    answer = {record.video: record.turns[0].answer for record in records}
    folder = world.out / "swap" / arm.name
    (folder / "margins").mkdir(parents=True)
    rows, margins = [], {}
    for pair in pair_up(records, "audio", exact_match, seed=world.seed).pairs:
        first = answer[pair.records[0].video]
        for picture in (0, 1):
            for side in (0, 1):
                cell = pair.cell(picture, side)
                seen = str(answer[cell.video])
                said = say(seen, str(sounds[cell.channels["audio"]]))
                if pair.is_visual:
                    said = seen
                rows.append(row_of(get_task(EXACT), cell, "arm", said))
                margins[cell.id] = 1.0 if said == first else -1.0
    write_rows(folder / "arm.jsonl", rows)
    (folder / "margins" / "arm.json").write_text(json.dumps(margins))


def test_arms_differ_in_what_teaches_them_alone(tmp_path: Path) -> None:
    from conflict_arms import ARMS, RESIDUALS, TRIED

    world = world_of(tmp_path, 1)
    lora, plain, *others = ARMS
    exchanged, *_ = others
    base = plain.settings(world).model_dump(exclude={"out"})
    for arm in (lora, *others):
        own = arm.settings(world).model_dump(exclude={"out"})
        changed = {key for key, value in own.items() if value != base[key]}
        if arm.hears:
            taught = {"counterfactual", "modality_dropout", "align_share"} & changed
            assert len(taught) == 1 and changed <= {*taught, "batch_clips"}, arm
        else:
            assert own["channel"] is None and not changed & {"lora", "steps", "batch_clips"}
    for arms in (ARMS, TRIED, RESIDUALS):
        assert len({arm.name for arm in arms}) == len({arm.title for arm in arms}) == len(arms)
    # The choice was made among what was tried.
    assert exchanged.name in {arm.name for arm in TRIED}
    assert {arm.residual for arm in ARMS} <= {arm.residual for arm in RESIDUALS}


def test_the_size_of_the_residual_is_all_that_its_trials_differ_in(tmp_path: Path) -> None:
    from conflict_arms import ARMS, RESIDUALS

    world = world_of(tmp_path, 0).model_copy(update={"steps": 200})  # those of the other trials
    lora, *sizes = RESIDUALS
    steps = {"steps": lora.settings(world).steps}
    elsewhere = world.model_copy(update=steps)  # what the other worlds train with
    assert not lora.hears and steps == {"steps": 160}
    plain = ARMS[1].settings(elsewhere).model_dump(exclude={"out"})
    for arm in sizes:
        own = arm.settings(world).model_dump(exclude={"out"})
        assert own == {**plain, "align_share": arm.residual}


def test_sizes_of_the_residual_are_compared_with_no_patch(tmp_path: Path) -> None:
    from conflict_arms import RESIDUALS
    from conflict_page import residuals

    lora, size, smaller, *_ = RESIDUALS
    world = world_of(tmp_path, 0)
    assert kept(world) == []
    finish(world, lora, lambda seen, heard: seen)
    finish(world, size, lambda seen, heard: "dog")  # right for every second clip
    (none,) = kept(world)
    assert residuals(none) == ""  # there is nothing to choose between yet
    finish(world, smaller, lambda seen, heard: seen)
    (found,) = kept(world)
    lines = [line.split(" | ") for line in residuals(found).splitlines()]
    header, _, first, second, third = lines[-5:]
    assert header[1] == "needs sound (n = 48)"
    assert first == ["| LoRA-only", "100.0", "100.0", "100.0", "100.0", "", " |"]
    assert second[:3] == [f"| {size.title}", "50.0", "50.0"]
    assert second[-1].startswith("-50.0 (")
    assert third[0] == f"| {smaller.title}" and third[1:-2] == first[1:-2]


def test_who_listens_and_who_looks_are_told_apart(tmp_path: Path) -> None:
    from conflict_arms import ARMS
    from conflict_page import measured

    lora, plain, exchanged, dropout, *_ = ARMS
    worlds = [world_of(tmp_path, 1), world_of(tmp_path, 2)]
    assert measured(kept(*worlds)) == ""
    for world in worlds:
        finish(world, lora, lambda seen, heard: seen)
        finish(world, plain, lambda seen, heard: seen)  # looks
        finish(world, exchanged, lambda seen, heard: heard)  # listens
    finish(worlds[1], dropout, lambda seen, heard: heard)
    text = measured(kept(*worlds))
    first, _, second = text.partition("Also trained, on fewer worlds: modality dropout.")
    # 12 pairs of clips a world; two questions about the sound, one about the picture.
    assert first.startswith("Seeds 1, 2: 10 steps") and "48 pairs of questions about sound" in first
    assert "LoRA-only 15, plain 15, exchanged 15." in first
    assert second.strip().startswith("Seed 2: 10 steps")
    lines = {tuple(line.split(" | ")[:2]): line for line in first.splitlines()}
    looks, listens = lines["| needs sound", "plain"], lines["| needs sound", "exchanged"]
    assert looks.split(" | ")[3].startswith("100.0") and looks.split(" | ")[6] == "-100.0, -100.0"
    assert looks.split(" | ")[4].startswith("0.0") and listens.split(" | ")[4].startswith("100.0")
    assert listens.split(" | ")[6] == "+0.0, +0.0"
    assert listens.split(" | ")[7].startswith("+100.0")  # follows, minus plain
    assert listens.split(" | ")[10].startswith("0.00") and looks.split(" | ")[10].startswith("1.00")
    wanted = {line.split(" | ")[0]: line.split(" | ")[1:] for line in first.splitlines()}
    assert wanted["| follows within 4 points of matched"] == ["no: -100.0", "yes: +0.0 |"]
    assert wanted["| Shortcut Index at most 0.10"] == ["no: 1.00", "yes: 0.00 |"]
    hears = wanted["| `count` hears: E channel above 0, with its interval"]
    assert [cell[:3] for cell in hears] == ["no:", "yes"]
    (change,) = (cells for text, cells in wanted.items() if text.startswith("| at most 5 %"))
    assert change == ["yes: 0.0 (0.0 to 0.0)", "yes: 0.0 (0.0 to 0.0) |"]


def test_an_arm_without_exchanges_is_in_the_other_tables(tmp_path: Path) -> None:
    from conflict_arms import ARMS
    from conflict_page import CORE, measured

    world = world_of(tmp_path, 1)
    other = ARMS[-1]
    for arm in (*CORE, other):
        finish(world, arm, lambda seen, heard: seen, exchanged=arm is not other)
    lines = [line.strip("| ").split(" | ") for line in measured(kept(world)).splitlines()]
    assert not any(cells[1:2] == [other.title] for cells in lines)  # of the exchanged sounds
    (wanted,) = (cells for cells in lines if cells[0] == "Shortcut Index at most 0.10")
    assert wanted[1:] == ["no: 1.00", "no: 1.00", "not asked"]


def test_effects_of_a_pair_come_back_from_the_repository(tmp_path: Path) -> None:
    """Two clips and one question, in an order that is not that of their names."""
    from conflict_answers import keep
    from conflict_arms import Arm
    from conflict_page import exchanged

    arm = Arm("plain", 1, clips=3)
    world = world_of(tmp_path, 1)
    records = []
    for clip, answer in (("b", "cat"), ("a", "dog")):  # the seed's own order begins with a
        record = Record(
            id=f"{clip}-0",
            video=f"{clip}.mp4",
            channels={"audio": f"{clip}.wav"},
            turns=[Turn(question="What do you hear?", answer=answer)],
            meta={"channel": "audio", "family": "heard", "pair": "one"},
        )
        records.append(record)
    file = world.world("test") / "records.jsonl"
    file.parent.mkdir(parents=True)
    write_records(file, records)
    (world.out / "runs").mkdir()
    (world.out / "runs" / f"{arm.name}.json").write_text('{"cpu_seconds": 7.5}')
    (pair,) = pair_up(records, "audio", exact_match, seed=1).pairs
    assert [record.id for record in pair.records] == ["a-0", "b-0"]
    said = {"aa": ("dog", 2.0), "ab": ("dog", 1.0), "ba": ("dog", 2.0), "bb": ("cat", -1.0)}
    rows, margins = [], {}
    for name, (text, margin) in said.items():
        cell = pair.cell("ab".index(name[0]), "ab".index(name[1]))
        rows.append(row_of(get_task(EXACT), cell, "arm", text))
        margins[cell.id] = margin
    folder = world.out / "swap" / arm.name
    (folder / "margins").mkdir(parents=True)
    write_rows(folder / "arm.jsonl", rows)
    (folder / "margins" / "arm.json").write_text(json.dumps(margins))

    keep(world, arm, root=tmp_path / "measured")
    (found,) = kept(world)
    assert [record.id for record in found.records()] == ["b-0", "a-0"]
    assert found.training(arm)["cpu_seconds"] == 7.5
    row = exchanged([found], [arm]).rows["plain", "audio"]
    # Right where both are of one clip; of the two conflicts, one follows the sound.
    assert (row.n, row.scores["matched"].value, row.scores["follows"].value) == (1, 1.0, 0.5)
    # ((2 - 1) + (2 - -1)) / 2 by the sound, ((2 - 2) + (1 - -1)) / 2 by the picture.
    assert row.scores["channel_effect"].value == 2.0
    assert row.scores["picture_effect"].value == 1.0
