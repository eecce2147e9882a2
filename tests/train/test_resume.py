"""A run killed anywhere and resumed ends with an uninterrupted run's weights.

It is killed in its aligned start, in mid-epoch and while it saves.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from helpers import tiny, toy
from pave.train import train

SETTINGS = {
    "steps": 11, "save_every": 3, "batch_clips": 2, "accumulation": 2, "questions_per_video": 2,
    "fusion__dropout": 0.2, "lora__dropout": 0.2, "lr_gate": 0.01, "align_steps": 4,
}  # fmt: skip

KILLED = """
import os, signal, sys
from pathlib import Path
from helpers import tiny, toy
from pave.train import start, train, trainer
from pave.train.progress import Reporter

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

folder, moment, settings = Path(sys.argv[1]), sys.argv[2], eval(sys.argv[3])
go_on, publish = Reporter.on_step_end, trainer.publish
if moment == "the aligned start":
    align = start.align
    start.align = lambda *args, **kwargs: (align(*args, **kwargs), die())
elif moment == "step 5":
    Reporter.on_step_end = lambda self, args, state, *rest, **more: (
        die() if state.global_step == 5 else go_on(self, args, state, *rest, **more))
else:
    trainer.publish = lambda staging, final, keep: (
        die() if final.name == "checkpoint-9" else publish(staging, final, keep))
train(toy.config(folder, "killed", **settings), base=tiny.base(), progress=False)
"""


def test_a_run_that_an_older_version_began_goes_on(tmp_path):
    """Its run.json has the settings' old names, and a digest of records with `meta.needs`."""
    made = toy.records(tmp_path, clips=2, questions=1)
    below = train(toy.config(tmp_path, "first", steps=1), base=tiny.base(), progress=False).patch
    file = tmp_path / "records.jsonl"
    lines = []
    for record in made:
        meta = {"family": "f", "needs": "sound", "more": 1}
        lines.append(record.model_copy(update={"meta": meta}).model_dump_json())
    file.write_text("\n".join(lines) + "\n")
    settings = {"steps": 2, "save_every": 1, "base_patches": [str(below)], "base_lora": "continued"}
    config = toy.config(tmp_path, "run", **settings)
    train(config, base=tiny.base(), progress=False)
    note = config.out / "run.json"
    identity = json.loads(note.read_text())
    identity["on_top_of"] = identity.pop("base_patches")
    identity["lora_below"] = identity.pop("base_lora")
    texts = [_dump_with(line) for line in lines]
    identity["records"] = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    note.write_text(json.dumps(identity))
    (config.out / "settings.yaml").write_text("store: x\n")
    assert train(config, base=tiny.base(), progress=False).resumed_from == 2
    assert {"base_patches", "base_lora"} <= json.loads(note.read_text()).keys()


def _dump_with(line: str) -> str:
    """A record's line as the digest took it: without the places of its media."""
    record = json.loads(line)
    del record["video"], record["channels"]
    return json.dumps(record, separators=(",", ":"))


@pytest.mark.slow
def test_killed_runs_end_bit_equal(tmp_path):
    toy.records(tmp_path, clips=5, questions=3, with_channel=4)
    whole = train(toy.config(tmp_path, "whole", **SETTINGS), base=tiny.base(), progress=False)
    checkpoints = tmp_path / "killed" / "checkpoints"
    toy.killed(KILLED, tmp_path, "the aligned start", repr(SETTINGS))
    assert not checkpoints.exists() or not list(checkpoints.iterdir())
    toy.killed(KILLED, tmp_path, "step 5", repr(SETTINGS))
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-3"]
    toy.killed(KILLED, tmp_path, "while saving step 9", repr(SETTINGS))
    assert sorted(path.name for path in checkpoints.glob("checkpoint-*")) == [
        "checkpoint-3",
        "checkpoint-6",
    ]
    resumed = train(toy.config(tmp_path, "killed", **SETTINGS), base=tiny.base(), progress=False)
    assert (resumed.resumed_from, resumed.steps) == (6, 11)
    assert toy.weights(resumed.patch) == toy.weights(whole.patch)
    rows = [
        (tmp_path / run / "train_log.jsonl").read_text().splitlines() for run in ("whole", "killed")
    ]
    assert len(rows[0]) == len(rows[1]) == 11
    assert sorted(path.name for path in checkpoints.iterdir()) == ["checkpoint-11", "checkpoint-9"]
