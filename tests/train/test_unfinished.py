"""A patch out of a checkpoint is the one that the run would have saved at that step."""

from __future__ import annotations

import json
import shutil

import pytest

from helpers import tiny, toy
from pave.errors import TrainError
from pave.patches import read_config
from pave.train import train
from pave.train.unfinished import checkpoint_of, patch_of

SETTINGS = {"steps": 4, "save_every": 2, "batch_clips": 1, "lr_gate": 0.05, "lr_lora": 0.01}


@pytest.mark.slow
def test_a_checkpoint_gives_the_patch_of_its_step(tmp_path):
    toy.records(tmp_path, clips=3, questions=1)
    settings = {**SETTINGS, "validation": {"clips": 1, "every": 2}}
    result = train(toy.config(tmp_path, **settings), base=tiny.base(), progress=False)
    run = tmp_path / "run"
    # Nothing but the run folder is needed.
    for name in ("records.jsonl", "frames", "0.npy", "1.npy", "2.npy", "store"):
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    last = patch_of(run, loaded=tiny.base())
    assert last == run / "patch-4" and toy.weights(last) == toy.weights(result.patch)
    ours, theirs = read_config(last).training, read_config(result.patch).training
    for moment in ("seconds", "command"):
        del ours[moment], theirs[moment]
    assert ours == theirs

    step = result.validation["best_step"]
    out = tmp_path / "elsewhere"
    best = patch_of(run / "checkpoints" / f"checkpoint-{step}", out, loaded=tiny.base())
    assert toy.weights(best) == toy.weights(run / "best")
    assert read_config(best).training["steps"] == step

    # The base is looked at, a checkpoint is checked.
    with pytest.raises(TrainError, match="made on another base"):
        patch_of(run, out, loaded=tiny.base(seed=1))
    with pytest.raises(TrainError, match="is no checkpoint"):
        patch_of(tmp_path, out)
    (run / "checkpoints" / "checkpoint-4" / "training.json").write_text("{}")
    with pytest.raises(TrainError, match="incomplete or damaged"):
        patch_of(run / "checkpoints" / "checkpoint-4", out)
    assert checkpoint_of(run).name == "checkpoint-2"
    digests = run / "checkpoints" / "checkpoint-2" / "digests.json"
    assert {"training.json", "validation.json"} <= json.loads(digests.read_text()).keys()
