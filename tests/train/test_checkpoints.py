"""Damaged checkpoints, and those that hold no numbers: never trained on, never kept."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny, toy
from pave.errors import TrainError
from pave.train import train
from pave.train.checkpoints import DIGESTS, newest_checkpoint
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
