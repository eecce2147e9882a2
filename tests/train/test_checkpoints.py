"""Damaged checkpoints, and those that hold no numbers: never trained on, never kept."""

from __future__ import annotations

import json
import logging
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny, toy
from pave import hf_compat
from pave.errors import TrainError
from pave.train import train
from pave.train.checkpoints import DIGESTS, newest_checkpoint, publish
from pave.train.objective import AnswerModel

SETTINGS = {"steps": 6, "save_every": 2, "batch_clips": 2, "log_every": 100}


def _run(tmp_path, **more):
    return train(toy.config(tmp_path, **{**SETTINGS, **more}), base=tiny.base(), progress=False)


def test_weights_that_are_no_numbers_are_not_kept(tmp_path, monkeypatch):
    toy.records(tmp_path, clips=4)
    forward, calls = AnswerModel.forward, []

    def break_third(self, *args, **more):
        calls.append(1)
        result = forward(self, *args, **more)
        if len(calls) == 3:
            result["loss"] = result["loss"] * float("nan")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(AnswerModel, "forward", break_third)
        with pytest.raises(TrainError, match=r"after step 4 the weights are not finite"):
            _run(tmp_path)
    kept = list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    assert [path.name for path in kept] == ["checkpoint-2"]
    weights = load_file(kept[0] / "model.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert _run(tmp_path).resumed_from == 2  # the cause is gone


def test_a_checkpoint_that_holds_no_numbers_is_refused(tmp_path):
    """One that an older version kept: it has no digests."""
    toy.records(tmp_path, clips=4)
    _run(tmp_path)
    newest = tmp_path / "run" / "checkpoints" / "checkpoint-6"
    (newest / DIGESTS).unlink()
    weights = load_file(newest / "model.safetensors")
    first = next(iter(weights))
    weights[first].view(-1)[0] = float("nan")
    save_file(weights, newest / "model.safetensors")
    with pytest.raises(
        TrainError, match=r"checkpoint-6 contains weights that are not finite .*delete"
    ):
        _run(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"],
)
def test_one_changed_byte_makes_a_checkpoint_void(tmp_path, caplog, name):
    toy.records(tmp_path, clips=4)
    _run(tmp_path)
    checkpoints = tmp_path / "run" / "checkpoints"
    file = checkpoints / "checkpoint-6" / name
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(checkpoints) == checkpoints / "checkpoint-4"
    assert "checkpoint-6 is incomplete and is skipped" in caplog.text


@pytest.mark.parametrize("content", ["[", "[]", "{}", "null", '{"global_step": null}', "[" * 9999])
def test_a_state_that_is_none_makes_a_checkpoint_void(tmp_path, content):
    toy.records(tmp_path, clips=4)
    _run(tmp_path)
    newest = tmp_path / "run" / "checkpoints" / "checkpoint-6"
    (newest / DIGESTS).unlink()  # an older version's, which nothing but the state can tell
    (newest / "trainer_state.json").write_text(content)
    assert _run(tmp_path).resumed_from == 4


def _kept(folder, digests):
    """Checkpoints 2 and 4 as a run leaves them, without the run."""
    for step in (2, 4):
        staging = folder / "staging"
        staging.mkdir(parents=True)
        save_file({"w": torch.zeros(2)}, staging / "model.safetensors")
        for name in hf_compat.checkpoint_files(1):
            (staging / name).write_bytes(b"x")
        (staging / hf_compat.TRAINER_STATE).write_text(json.dumps({"global_step": step}))
        publish(staging, folder / f"checkpoint-{step}", keep=2)
    assert newest_checkpoint(folder).name == "checkpoint-4"
    note = folder / "checkpoint-4" / DIGESTS
    found = json.loads(note.read_text())
    note.write_text(json.dumps({**found, **digests}))
    return note


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda place: os.symlink("gone", place)])
@pytest.mark.parametrize("name", [DIGESTS, "model.safetensors", hf_compat.TRAINER_STATE])
def test_a_checkpoint_with_something_else_for_a_file_is_void(tmp_path, make, name):
    """Nobody waits for a pipe in it."""
    _kept(tmp_path, {})
    place = tmp_path / "checkpoint-4" / name
    place.unlink()
    make(place)
    assert newest_checkpoint(tmp_path).name == "checkpoint-2"


@pytest.mark.parametrize("name", ["pipe", "../pipe", "/dev/zero", "/proc/kmsg", "gone", ".", ""])
def test_digests_of_other_files_make_a_checkpoint_void(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    _kept(tmp_path, {name: "0" * 64})
    os.mkfifo(tmp_path / "checkpoint-4" / "pipe")
    assert newest_checkpoint(tmp_path).name == "checkpoint-2"


def test_what_lies_in_the_place_of_a_checkpoint_is_replaced(tmp_path):
    """A file, or a link to somebody's folder, which stays."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").touch()
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "checkpoint-1").symlink_to(mine)
    (folder / "checkpoint-2").symlink_to(mine)
    (folder / "checkpoint-4").write_text("a note")
    _kept(folder, {})
    assert (mine / "thesis").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]
