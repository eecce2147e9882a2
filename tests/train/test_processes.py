"""Two processes under torchrun share the work and end with the weights of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from helpers import tiny, toy
from pave.patches import read_config
from pave.train import train

# The second clip has no channel: one process then has no use for the fusion, and must not be waited
# for.
SETTINGS = {"lr_gate": 0.01, "questions_per_video": 2, "gradient_checkpointing": True}

SCRIPT = """
import sys
from pathlib import Path
from helpers import tiny, toy
from pave.patches import read_config
from pave.train import train
config = toy.config(Path(sys.argv[1]), "two", batch_clips=1, **eval(sys.argv[2]))
train(config, base=tiny.base(), progress=False)
"""


def _two(folder: Path, settings: dict[str, object]) -> subprocess.CompletedProcess[bytes]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    here = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(here), str(here.parent / "src")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    return subprocess.run(
        [*command, str(script), str(folder), repr(settings)],
        env=env,
        capture_output=True,
        timeout=600,
    )


def _rates(folder: Path) -> list[float]:
    return [
        json.loads(line)["lr_lora"]
        for line in (folder / "train_log.jsonl").read_text().splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "length", [{"steps": 3}, {"epochs": 4, "warmup": 0.5, "log_every": 1}], ids=["steps", "epochs"]
)
def test_two_processes_equal_one(tmp_path, length):
    toy.records(tmp_path, clips=2, questions=2, with_channel=1)
    settings = {**SETTINGS, **length}
    done = _two(tmp_path, settings)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    one = train(
        toy.config(tmp_path, "one", batch_clips=2, **settings), base=tiny.base(), progress=False
    )
    for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
        ours, theirs = load_file(one.patch / name), load_file(tmp_path / "two" / "patch" / name)
        for key, tensor in ours.items():
            assert (tensor - theirs[key]).abs().max() < 1e-4, key
    assert _rates(tmp_path / "two") == _rates(tmp_path / "one")
    again = _two(tmp_path, {**settings, "seed": 5})
    assert again.returncode and b"holds a run with other seed" in again.stderr


@pytest.mark.slow
def test_two_processes_go_on_from_one_validate_and_stop_together(tmp_path):
    toy.records(tmp_path, clips=5, questions=2)
    first = toy.config(tmp_path, "one", steps=2, lr_gate=0.05, lr_lora=0.01)
    one = train(first, base=tiny.base(), progress=False)
    # Rates so small that no weight moves but by 1e-30: all scores are alike, and patience ends
    # the run. A weight of exactly zero shows such a step, so bytes may differ.
    still = {"lr_lora": 1e-30, "lr_fusion": 1e-30, "lr_gate": 1e-30}
    origin = tmp_path / "one" / "checkpoints" / "checkpoint-2"
    validation = {"clips": 3, "every": 1, "patience": 2}
    settings = {"steps": 6, "start_from": str(origin), "validation": validation, **still}
    done = _two(tmp_path, settings)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    rows = map(json.loads, (tmp_path / "two" / "train_log.jsonl").read_text().splitlines())
    assert [row["step"] for row in rows if "validation" in row] == [1, 2, 3]
    for patch in ("patch", "best"):
        for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
            ours = load_file(tmp_path / "two" / patch / name)
            theirs = load_file(one.patch / name)
            assert ours.keys() == theirs.keys()
            for key, tensor in ours.items():
                assert (tensor - theirs[key]).abs().max() < 1e-20, key
    steps = {
        patch: read_config(tmp_path / "two" / patch).training["steps"]
        for patch in ("best", "patch")
    }
    assert steps == {"best": 1, "patch": 3}
