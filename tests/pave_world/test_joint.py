"""`make joint`: equal budgets, clips with all channels, answers that are kept, honest verdicts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pave.data import read_records
from pave_world.demo.presets import PRESETS
from pave_world.scenes.sample import sample_scene

SENSES = list(PRESETS)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import joint
    import joint_page

    # The repository's own answers and page stay as they are.
    monkeypatch.setattr(joint, "_file", lambda worlds, sense: _kept(tmp_path, worlds, sense))
    monkeypatch.setattr(joint, "write_page", lambda: None)
    monkeypatch.setattr(joint_page, "RESAMPLES", 100)


def _kept(root: Path, worlds: Any, sense: str) -> Path:
    from answers import answers_file

    return answers_file("joint", worlds[sense].seed, sense, root / "measured")


def test_a_joint_patch_has_the_steps_and_the_records_of_all_singles(tmp_path: Path) -> None:
    from joint import worlds_of
    from joint_arms import ARMS, LORA, SINGLE, run_of

    worlds = worlds_of(1, tmp_path, 7, 4, 2)
    singles = {sense: run_of(SINGLE, worlds, sense) for sense in SENSES}
    for arm in (arm for arm in ARMS if arm.kind == "joint"):
        joint = run_of(arm, worlds, "audio")
        assert joint.steps == sum(single.steps or 0 for single in singles.values()) == 28
        assert joint.lora_per_channel == arm.per_channel
        for sense, single in singles.items():
            assert joint.parts[sense] == single.parts[sense]
            same = {"lora", "batch_clips", "accumulation", "questions_per_video", "lr_lora"}
            same |= {"lr_fusion", "lr_gate", "align_steps", "align_share", "align_families"}
            same |= {"seed", "precision", "cache", "base"}
            assert joint.model_dump(include=same) == single.model_dump(include=same)
            if not arm.company:
                assert joint.files[sense].records == single.records
        # Every sense as often as every other, whatever the number of its questions.
        assert joint.mixture is not None
        assert set(joint.mixture.shares(dict(zip(SENSES, (1, 2, 3, 4), strict=True))).values()) == {
            0.25
        }
    control = run_of(LORA, worlds, "views")
    assert control.parts == {} and control.records == singles["views"].records
    assert control.steps == singles["views"].steps and control.lora == singles["views"].lora
    runs = {run_of(arm, worlds, sense).out for arm in (LORA, SINGLE) for sense in SENSES}
    assert len(runs) == 8


def test_clips_in_company_have_all_channels_of_their_own_scene(tmp_path: Path) -> None:
    from joint import worlds_of
    from joint_clips import IN_COMPANY, make_clips

    worlds = worlds_of(3, tmp_path, 7, 3, 2)
    make_clips(worlds, ["train", "test"])
    for sense, world in worlds.items():
        plain = {r.id: r for r in read_records(world.world("test") / "records.jsonl")}
        company = {r.id: r for r in read_records(world.world("test") / IN_COMPANY)}
        assert plain.keys() == company.keys()
        for name, record in company.items():
            assert set(record.channels) == set(SENSES)
            assert record.channels[sense] == plain[name].channels[sense]
            assert record.video == plain[name].video and record.turns == plain[name].turns
            if sense != "frames":  # all frames of what it shows anyway
                assert record.channels["frames"] == record.video
        trained = read_records(world.world("train") / IN_COMPANY)
        assert all(sense in record.channels for record in trained)
    # Some of the others in training, not always all of them.
    counts = {
        len(record.channels)
        for world in worlds.values()
        for record in read_records(world.world("train") / IN_COMPANY)
    }
    assert len(counts) > 1


def test_the_depth_of_a_clip_does_not_show_what_its_screen_hides(tmp_path: Path) -> None:
    """The map is that of the same room without the hidden things."""
    from dataclasses import replace

    from joint_clips import _depth

    from pave_world import render_depth
    from pave_world.films.clips import WorldSettings

    settings = WorldSettings(channel="views", split="test", seed=1)
    scene = next(
        scene
        for scene in (sample_scene("views", "test", index, 1) for index in range(50))
        if scene.behind is not None
    )
    (tmp_path / "others").mkdir()
    found = np.load(tmp_path / _depth(tmp_path, settings, scene))["depth"][0]
    empty = replace(scene, behind=None, outside=None)
    assert np.array_equal(found, render_depth(empty, 0.0, settings.size))
    assert not np.array_equal(found, render_depth(scene, 0.0, settings.size))


def test_what_is_kept_is_not_trained_or_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asking
    import joint
    from answers import read_answers
    from joint_arms import ARMS, SINGLE

    worlds = joint.worlds_of(1, tmp_path, 7, 4, 2)
    done: list[str] = []
    record = SimpleNamespace(
        id="q", meta={"clip": "c", "family": "f", "channel": "audio"}, answers=["dog"]
    )
    said = {("arm", "q"): SimpleNamespace(answer="dog", prediction="Dog.")}
    monkeypatch.setattr(joint, "make_clips", lambda *_: None)
    monkeypatch.setattr(joint, "_encode_once", lambda *_: None)
    monkeypatch.setattr(asking, "base_of", lambda _: None)
    monkeypatch.setattr(joint, "train", lambda run: done.append(f"train {run.out.name}") or True)
    monkeypatch.setattr(asking, "evaluate", lambda config, _: done.append(config.out.name))
    monkeypatch.setattr(asking, "read_rows", lambda *_: said)
    monkeypatch.setattr(asking, "read_records", lambda *_, **__: [record])
    made = {"cpu_seconds": 3.0}
    monkeypatch.setattr(joint, "training_of", lambda _: made)
    per_channel = next(arm for arm in ARMS if arm.per_channel)
    assert joint.run_arm(worlds, SINGLE) and joint.run_arm(worlds, per_channel)
    name = per_channel.name
    assert done[:4] == [
        "train single-audio",
        "single-audio-alone",
        "train single-scene3d",
        "single-scene3d-alone",
    ]
    assert done[8:11] == [f"train {name}", f"{name}-audio-alone", f"{name}-audio-company"]
    kept = read_answers(_kept(tmp_path, worlds, "views"))
    assert kept.rows["q"] == {
        "clip": "c",
        "family": "f",
        "group": "audio",
        "answer": "dog",
        "single/alone": "Dog.",
        f"{name}/alone": "Dog.",
        f"{name}/company": "Dog.",
    }
    assert kept.about["trainings"] == {"single": made, name: made}
    done.clear()
    assert joint.run_arm(worlds, SINGLE) and joint.run_arm(worlds, per_channel)
    assert done == []
    with pytest.raises(SystemExit, match="other settings"):
        joint.run_arm(joint.worlds_of(1, tmp_path, 8, 4, 2), SINGLE)


def fill(root: Path, seed: int, right: dict[str, int], clips: int = 10) -> None:
    """Answers without any model: right on the first so many clips of each sense.

    Args:
        root: Where they are kept.
        seed: Their world.
        right: Column -> right answers to questions that need the sense; visual ones are all right.
        clips: Clips of each sense.
    """
    from answers import Answers, answers_file, write_answers

    for sense in SENSES:
        settings = {"steps": 7, "batch_clips": 3, "train_clips": 4, "test_clips": clips}
        settings |= {"lora": {"rank": 16, "alpha": 16}}
        made = {"cpu_seconds": 4.0, "precision": "bf16", "architecture": "x86_64", "torch": "2"}
        kept = Answers({"settings": settings, "trainings": {"single": made}})
        for clip in range(clips):
            for group in (sense, "video"):
                row = {"clip": f"c{clip}", "family": "f", "group": group, "answer": "dog"}
                for column, count in right.items():
                    row[column] = "dog" if group == "video" or clip < count else "cat"
                for column, value in row.items():
                    kept.add(column, {f"{clip}-{group}": value})
        write_answers(answers_file("joint", seed, sense, root), kept)


def test_the_page_compares_within_a_world_and_judges_the_worst_sense(tmp_path: Path) -> None:
    import joint_page
    from joint_arms import SINGLE

    root = tmp_path / "measured"
    page = tmp_path / "results.md"
    marks = [
        f"<!-- {mark}:start -->\nold\n<!-- {mark}:end -->" for mark in ("joint", "joint-chosen")
    ]
    page.write_text("\n\n".join(marks))
    answers = {"single/alone": 8, "joint/alone": 8, "joint/company": 6, "apart/company": 8}
    fill(root, 1, answers | {"lora/alone": 4})
    # Its single patch is better, and no joint one was trained there.
    fill(root, 2, {"single/alone": 10, "lora/alone": 4})
    joint_page.write_page(root, page)
    text = page.read_text("utf-8")
    assert text.count("old") == 1  # no world of the choice is there yet
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[tuple(cells[:2])] = cells[2:]
    single, joint = rows["sound", "single"], rows["sound", "joint, one LoRA"]
    assert single[:4] == ["1, 2", "90.0", "", ""] and single[4].startswith("+50.0 (")
    # 8 of 10 both; the world without a joint patch has no part in the difference.
    assert joint[:4] == ["1", "80.0", "+0.0", "+0.0"]
    assert joint[7].startswith("-20.0 (") and joint[8].startswith("+0.0")
    # Side by side the single patch answers, and other channels change nothing here.
    assert rows["sound", "singles side by side"][7] == "+0.0"
    wanted = rows["on no sense more than 2 points below the single patch", joint_verdict(text, 0)]
    assert joint_verdict(text, 0).startswith("yes: +0.0") and wanted == ["yes: the same"]
    assert joint_verdict(text, 1).startswith("no: -20.0")
    assert joint_page.right_of({}, SINGLE, "alone", "needs", SENSES).right == {}


def joint_verdict(text: str, number: int) -> str:
    """The cell of the joint patch in the table of what was wanted."""
    line = text.partition("| wanted |")[2].splitlines()[2 + number]
    return line.strip("|").split("|")[1].strip()
