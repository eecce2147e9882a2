"""One patch of several channels, trained on several files of records."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import tiny, toy
from pave.data import read_records, write_records
from pave.errors import ConfigError, RecordError, TrainError
from pave.model import PatchedModel
from pave.patches import read_config
from pave.train import TrainConfig, train
from pave.train.control import without_channel
from pave.train.lessons import lessons_of, read_files
from pave.train.mixture import RecordMixture
from pave.train.plans import JointPlan, Plan
from train.test_on_top import records as two_channels
from train.test_processes import _two

SMALL = {"hidden": 16, "heads": 2, "layers": 1}
CHANNELS = {
    "audio": {"encoder": "mel", "fusion": SMALL},
    "features": {
        "encoder": "file",
        "encoder_settings": {"dim": toy.DIM, "rate": 2.0},
        "fusion": SMALL,
    },
}
ALONE = {"channel": None, "records": None, "channels": CHANNELS}


def _files(folder: Path) -> dict[str, Any]:
    """Two files: one about sound, one about the features, of which a clip has both; a mixture."""
    made = read_records(two_channels(folder))
    more = [record.model_copy(update={"id": f"{record.id}b"}) for record in made]
    write_records(folder / "sound.jsonl", [r for r in (*made, *more) if "audio" in r.channels])
    write_records(folder / "dense.jsonl", made[:3])
    return {
        "files": {
            "sound": {"records": folder / "sound.jsonl", "channels": "audio"},
            "dense": {"records": folder / "dense.jsonl"},
        }
    }


def _config(folder: Path, out: str, mixture: dict[str, Any], **more: Any) -> TrainConfig:
    return toy.config(folder, out, **{**ALONE, "mixture": mixture, **more})


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_files_are_drawn_by_their_size_to_a_power(alpha: float) -> None:
    """A batch is of one file, whose own order stays; any position can be asked first."""
    files = {"large": {"records": "l"}, "small": {"records": "s"}}
    shares = RecordMixture(files=files, alpha=alpha).shares({"large": 64, "small": 4})
    assert shares["small"] == pytest.approx(4**alpha / (4**alpha + 64**alpha))
    sizes = [[2] * 32, [4]]

    def make(seed: int = 7) -> JointPlan:
        plans = [Plan(size, 2, seed=1) for size in sizes]
        return JointPlan(plans, [32, 1], list(shares.values()), batch=3, seed=seed)

    plan = make()
    drawn = [plan[place] for place in range(9000)]
    small = [group == 32 for group, _ in drawn]
    for start in range(0, 9000, 3):
        assert len(set(small[start : start + 3])) == 1
    # 3,000 draws: four standard deviations are 0.037 at most.
    assert Counter(small)[True] / 9000 == pytest.approx(shares["small"], abs=0.037)
    own = Plan(sizes[0], 2, seed=1)
    assert [part for part in drawn if part[0] < 32] == [own[i] for i in range(small.count(False))]
    fresh = make()
    assert [fresh[place] for place in (8999, 5, 4000)] == [drawn[8999], drawn[5], drawn[4000]]
    assert [make(8)[place] for place in range(300)] != drawn[:300]
    assert plan.per_epoch == 32 + 2


def test_the_files_of_a_mixture(tmp_path: Path) -> None:
    """Channels that a file is not used with are not there; the control has the same plan."""
    config = _config(tmp_path, "run", _files(tmp_path), batch_clips=2)
    files = read_files(config)
    sound, dense = files["sound"], files["dense"]
    assert {record.id.partition("/")[0] for record in sound} == {"sound"}
    assert {tuple(record.channels) for record in sound} == {("audio",)}
    assert [sorted(record.channels) for record in dense] == [
        ["audio", "features"], ["audio", "features"], ["features"],
    ]  # fmt: skip
    lessons = lessons_of(config, files)
    assert lessons.shares["sound"] == pytest.approx(6**0.5 / (6**0.5 + 3**0.5))
    assert len(lessons.groups) == len(lessons.clips) == 3 + 3
    control = without_channel(config)
    assert not control.parts and not control.lora_per_channel
    theirs = lessons_of(control, read_files(control))
    assert [theirs.plan[place] for place in range(50)] == [
        lessons.plan[place] for place in range(50)
    ]
    assert list(map(list, theirs.groups)) == list(map(list, lessons.groups))


def test_a_file_is_named_twice_to_ask_rare_families_more_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second time it has their questions alone; with alpha 0 they fill half of the batches."""
    sound = _files(tmp_path)["files"]["sound"]
    made = read_records(sound["records"])
    kinds = ["count", "side", None, "side", "count", ["side"]]
    for record, kind in zip(made, kinds, strict=True):
        record.meta["family"] = kind
    write_records(sound["records"], made)
    rare = {**sound, "families": "side,count"}
    mixture = {"alpha": 0, "files": {"all": sound, "rare": rare}}
    files = read_files(_config(tmp_path, "run", mixture))
    assert len(files["all"]) == 6
    kept = [made[place].id for place in (0, 1, 3, 4)]
    assert [record.id for record in files["rare"]] == [f"rare/{name}" for name in kept]
    config = _config(tmp_path, "run", mixture, batch_clips=1)
    lessons = lessons_of(config, files)
    assert lessons.shares == {"all": 0.5, "rare": 0.5}
    drawn = {lessons.groups[lessons.plan[place][0]][0].id.split("/")[0] for place in range(99)}
    assert drawn == {"all", "rare"}
    mixture["files"]["rare"] = {**sound, "families": ["side", "where"]}
    assert len(read_files(_config(tmp_path, "run", mixture))["rare"]) == 2
    assert "files.rare: no record of" in caplog.text and "of the family where (" in caplog.text
    mixture["files"]["rare"] = {**sound, "families": ["there", "where"]}
    with pytest.raises(RecordError, match=r"no record of .* is of the family there or where"):
        read_files(_config(tmp_path, "run", mixture))


def test_a_run_on_a_file_that_is_named_twice(tmp_path: Path) -> None:
    """The card says what was used of it, and counts its clips once; a run of before goes on."""
    sound = _files(tmp_path)["files"]["sound"]
    made = read_records(sound["records"])
    for record in made[:2]:
        record.meta["family"] = "side"
    write_records(sound["records"], made)
    clips = len({record.video for record in made})
    sound = {"records": sound["records"]}
    mixture: dict[str, Any] = {"files": {"all": sound, "rare": {**sound, "families": ["side"]}}}
    alone = {"channel": "audio", "channels": {}, "encoder_settings": {}, **CHANNELS["audio"]}
    config = _config(tmp_path, "run", mixture, **alone, steps=1)
    card = read_config(train(config, base=tiny.base(), progress=False).patch).training
    assert card["records"] == "sound.jsonl, sound.jsonl (side)"
    assert (card["clips"], card["questions"]) == (clips, len(made) + 2)
    # Its note is as before there were families, which are told by the questions alone.
    note = json.loads((tmp_path / "run" / "run.json").read_text())
    assert note["mixture"]["files"] == {"all": {"channels": None}, "rare": {"channels": None}}
    mixture["files"]["rare"]["families"] = ["side", "other"]
    same = _config(tmp_path, "run", mixture, **alone, steps=1)
    assert train(same, base=tiny.base(), progress=False).resumed_from == 1
    del mixture["files"]["rare"]["families"]
    other = _config(tmp_path, "run", mixture, **alone, steps=1)
    with pytest.raises(TrainError, match="other records"):
        train(other, base=tiny.base(), progress=False)


def test_settings_of_a_mixture_that_cannot_be(tmp_path: Path) -> None:
    mixture = _files(tmp_path)
    one = {"sound": mixture["files"]["sound"]}
    for values, words in (
        ({"records": "r"}, "records for one file, mixture for several"),
        ({"mixture": {"files": one}}, "mixture.files"),
        ({"mixture": {**mixture, "alpha": 2}}, "mixture.alpha"),
        ({"mixture": {"files": {"a/b": one["sound"], **one}}}, "without a slash"),
        ({"channels": {"audio": CHANNELS["audio"]}}, "channels is for two or more"),
        ({"channel": "audio", "encoder": "mel"}, "or channels, but not both"),
        ({"lora": None, "lora_per_channel": True}, "lora_per_channel needs channels and a LoRA"),
        ({"channels": {**CHANNELS, "views": {"encoder": "tower", "rate": 1}}}, "rate"),
        ({"channels": {"features": CHANNELS["features"], "views": {"encoder": "tower"}}},
         "files.sound.channels: the patch has no channel 'audio'; it has features, views"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            _config(tmp_path, "run", **{"mixture": mixture, **values})
    made = read_records(tmp_path / "sound.jsonl")
    silent = [record.model_copy(update={"channels": {}}) for record in made]
    write_records(tmp_path / "sound.jsonl", silent)
    with pytest.raises(RecordError, match=r"files.sound: no record of .* names the channel audio"):
        read_files(_config(tmp_path, "run", mixture))
    several = _config(tmp_path, "run", mixture, counterfactual={})
    with pytest.raises(
        ConfigError, match="exchanges one channel, but the records name audio, features"
    ):
        lessons_of(several, {"dense": read_records(tmp_path / "dense.jsonl")})


@pytest.mark.slow
@pytest.mark.parametrize("apart", [True, False])
def test_a_joint_run_goes_on_bit_equal(tmp_path: Path, apart: bool) -> None:
    """And its patch is the base where a clip has no channel."""
    settings = {
        "steps": 6, "save_every": 2, "batch_clips": 2, "accumulation": 2, "questions_per_video": 2,
        "lora__dropout": 0.1, "lr_gate": 0.01, "align_steps": 2, "lora_per_channel": apart,
    }  # fmt: skip
    mixture = _files(tmp_path)
    again = toy.gone_on(_config(tmp_path, "cut", mixture, **settings))
    assert again.resumed_from == 4
    assert len(toy.weights(again.patch)) == (3 if apart else 2)
    saved = read_config(again.patch)
    assert list(saved.channels) == ["audio", "features"]
    assert (saved.lora is None) == apart
    assert sum(saved.training["share of batches"].values()) == pytest.approx(1)
    # Files may move, but what a forward pass holds may not change.
    moved = {"files": dict(mixture["files"])}
    place = shutil.copy(tmp_path / "sound.jsonl", tmp_path / "moved.jsonl")
    moved["files"]["sound"] = {"records": place, "channels": ["audio"]}
    same = train(_config(tmp_path, "cut", moved, **settings), base=tiny.base(), progress=False)
    assert same.resumed_from == 6
    other = {**settings, "batch_clips": 4, "accumulation": 1}
    with pytest.raises(TrainError, match="other batch_clips"):
        train(_config(tmp_path, "cut", mixture, **other), base=tiny.base(), progress=False)
    with pytest.raises(TrainError, match="other mixture"):
        train(
            _config(tmp_path, "cut", {**mixture, "alpha": 1}, **settings),
            base=tiny.base(),
            progress=False,
        )

    base = tiny.base()
    inputs = tiny.inputs(base)
    with torch.no_grad():
        plain = base.model(**inputs).logits
        model = PatchedModel(base)
        model.load_patch(again.patch)
        assert torch.equal(model(channels=[{}, {}], **inputs).logits, plain)


@pytest.mark.slow
def test_two_processes_draw_as_one(tmp_path: Path) -> None:
    """Each has batches in which one channel's LoRA has nothing to do."""
    mixture = json.loads(json.dumps(_files(tmp_path), default=str))
    settings = {
        **ALONE, "mixture": mixture, "steps": 4, "lr_gate": 0.01, "questions_per_video": 2,
        "lora_per_channel": True, "gradient_checkpointing": True,
    }  # fmt: skip
    done = _two(tmp_path, settings)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    config = toy.config(tmp_path, "one", **{**settings, "batch_clips": 1, "accumulation": 2})
    one = train(config, base=tiny.base(), progress=False)
    for path in one.patch.rglob("*.safetensors"):
        ours = load_file(path)
        theirs = load_file(tmp_path / "two" / "patch" / path.relative_to(one.patch))
        for key, tensor in ours.items():
            assert (tensor - theirs[key]).abs().max() < 1e-4, key


@pytest.mark.slow
def test_cells_of_a_mixture_are_made_file_by_file(tmp_path: Path) -> None:
    mixture = _files(tmp_path)
    mixture["files"]["dense"]["channels"] = ["features"]
    cells = {"share": 0.5, "loss": "hinge"}
    config = _config(
        tmp_path,
        "cells",
        mixture,
        steps=3,
        counterfactual=cells,
        questions_per_video=2,
        lora_per_channel=True,
    )
    files = read_files(config)
    lessons = lessons_of(config, files)
    assert lessons.cells == len(lessons.wrong) == sum(map(len, lessons.groups)) - 9
    result = train(config, base=tiny.base(), progress=False)
    assert read_config(result.patch).training["cells"] == lessons.cells
