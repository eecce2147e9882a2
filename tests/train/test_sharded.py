"""A base in shares (FSDP2) trains the patch that a whole one trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import launch, saved, tiny, toy
from pave.errors import ConfigError
from pave.patches import read_config
from pave.train import train
from pave.train.together import average_gradients
from pave.train.unfinished import patch_of

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from helpers import toy
from pave.train import run, sharded, train
from pave.train.progress import Reporter
folder, name, settings = Path(sys.argv[1]), sys.argv[2], eval(sys.argv[3])
killed = settings.pop("killed", None)
config = toy.config(folder, name, base=str(folder / "base"), batch_clips=1, **settings)

def counted(load, args, real=sharded.load_in_turns):
    base = real(load, args)
    layers = getattr(base.inner, base.family.language_model).layers
    held = sum(p.to_local().numel() for p in layers.parameters())
    whole = sum(p.numel() for p in layers.parameters())
    (folder / f"share-{args.process_index}.json").write_text(json.dumps([held, whole]))
    return base

def die(self, args, state, *rest, go_on=Reporter.on_step_end, **more):
    if (args.process_index, state.global_step) == (1, killed):
        os.kill(os.getpid(), signal.SIGKILL)
    go_on(self, args, state, *rest, **more)

Reporter.on_step_end = die
run.load_in_turns = counted
train(config, progress=False)
"""
# The second clip has no channel: its process has no use for the fusion, and is not waited for.
SETTINGS = {
    "steps": 6,
    "accumulation": 2,
    "save_every": 2,
    "lr_gate": 0.01,
    "questions_per_video": 2,
    "gradient_checkpointing": True,
    "lora__dropout": 0.1,
}
FILES = ("fusion.safetensors", "lora/adapter_model.safetensors")


def _started(folder: Path, name: str, processes: int = 2, **settings: object) -> tuple[int, str]:
    """How a run of several processes ended, and what it said."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    words = [str(script), str(folder), name, repr({**SETTINGS, **settings})]
    done = launch.launched(words, processes=processes)
    return done.returncode, done.stderr[-4000:]


def _two(folder: Path, name: str, **settings: object) -> None:
    code, said = _started(folder, name, **settings)
    assert code == 0, said


def _losses(folder: Path) -> list[float]:
    rows = (folder / "train_log.jsonl").read_text().splitlines()
    return [json.loads(row)["loss"] for row in rows]


def _apart(ours: Path, theirs: Path) -> float:
    """The largest difference between two patches' weights."""
    found = 0.0
    for name in FILES:
        one, two = load_file(ours / "patch" / name), load_file(theirs / "patch" / name)
        assert one.keys() == two.keys()
        found = max(found, *(float((one[key] - two[key]).abs().max()) for key in one))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3_vl"])
def test_a_base_in_shares_equals_a_whole_one(tmp_path, family):
    saved.base(family, tmp_path / "base")
    toy.records(tmp_path, clips=2, questions=2, with_channel=1)
    _two(tmp_path, "ddp")
    _two(tmp_path, "fsdp", engine="fsdp")
    for rank in range(2):
        held, whole = json.loads((tmp_path / f"share-{rank}.json").read_text())
        assert held <= whole * 0.55  # half of it; what does not divide evenly is padded
    assert _losses(tmp_path / "fsdp") == pytest.approx(_losses(tmp_path / "ddp"), abs=1e-6)
    assert _apart(tmp_path / "fsdp", tmp_path / "ddp") < 1e-6
    # The patch knows the base that it was made on, as one trained on a whole base does.
    ours = read_config(tmp_path / "fsdp" / "patch").base.weights["language"]
    assert ours == read_config(tmp_path / "ddp" / "patch").base.weights["language"]


def _must_equal(ours: Path, theirs: Path) -> None:
    """Two patches have the same weights to the bit."""
    for name in FILES:
        one, two = load_file(ours / name), load_file(theirs / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_a_run_in_shares_is_killed_and_goes_on(tmp_path):
    saved.base("qwen3_vl", tmp_path / "base")
    toy.records(tmp_path, clips=2, questions=2, with_channel=1)
    _two(tmp_path, "whole", engine="fsdp")
    code, _ = _started(tmp_path, "fsdp", engine="fsdp", killed=5)
    assert code
    made = tmp_path / "fsdp" / "checkpoints"
    assert [path.name for path in sorted(made.iterdir())] == ["checkpoint-2", "checkpoint-4"]
    # A checkpoint of a base in shares gives the patch that the run saved at that step.
    assert patch_of(tmp_path / "fsdp").name == "patch-4"
    _must_equal(patch_of(tmp_path / "whole"), tmp_path / "whole" / "patch")
    # One process and a whole base go on in place of two with shares.
    shutil.copytree(tmp_path / "fsdp", tmp_path / "one")
    _two(tmp_path, "fsdp", engine="fsdp")
    _must_equal(tmp_path / "fsdp" / "patch", tmp_path / "whole" / "patch")
    settings = {**SETTINGS, "accumulation": 4, "batch_clips": 1}
    config = toy.config(tmp_path, "one", base=str(tmp_path / "base"), **settings)
    assert train(config, progress=False).resumed_from == 4


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    """Without dropout nothing depends on who draws which random number."""
    saved.base("qwen3_vl", tmp_path / "base")
    toy.records(tmp_path, clips=4, questions=2)
    plain = {"lora__dropout": 0.0, "accumulation": 2}
    _two(tmp_path, "two", **plain)
    for name, processes, accumulation in (("one", 1, 4), ("four", 4, 1)):
        code, _ = _started(tmp_path, name, **plain, killed=5)
        assert code
        shape = {**plain, "accumulation": accumulation}
        code, said = _started(tmp_path, name, processes, **shape)
        assert code == 0, said
        assert _losses(tmp_path / name) == pytest.approx(_losses(tmp_path / "two"), abs=1e-5)
        assert _apart(tmp_path / name, tmp_path / "two") < 1e-4
    code, said = _started(tmp_path, "one", 4, **plain)
    assert (
        code and "4 processes x batch_clips 1 x accumulation 2 are 8; set accumulation to 1" in said
    )


def test_what_does_not_go_together(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    with pytest.raises(ConfigError, match="engine fsdp divides the base among several processes"):
        train(toy.config(tmp_path, engine="fsdp"), base=tiny.base(), progress=False)


def test_gradients_become_their_mean(tmp_path):
    """One process: the mean of one is itself, and a missing gradient counts as zero."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        used, idle = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(4))
        (used * 2).sum().backward()
        average_gradients([used, idle])
    finally:
        torch.distributed.destroy_process_group()
    assert used.grad.equal(torch.full((2, 3), 2.0))
    assert idle.grad.equal(torch.zeros(4))
