"""`trainer.deepspeed` divides gradients and moments, and trains what one process trains."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import launch, tiny, toy
from pave.errors import ConfigError
from pave.train import train

SCRIPT = """
import os, signal, sys
from pathlib import Path
from helpers import tiny, toy
from pave.train import train
from pave.train.progress import Reporter
folder, name, settings = Path(sys.argv[1]), sys.argv[2], eval(sys.argv[3])
killed = settings.pop("killed", None)
config = toy.config(folder, name, batch_clips=1, **settings)

def die(self, args, state, *rest, go_on=Reporter.on_step_end, **more):
    if (args.process_index, state.global_step) == (1, killed):
        os.kill(os.getpid(), signal.SIGKILL)
    go_on(self, args, state, *rest, **more)

Reporter.on_step_end = die
print("resumed from", train(config, base=tiny.base(), progress=False).resumed_from)
"""
ZERO = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}}
# The second clip has no channel: its process has no gradient of the fusion.
SETTINGS = {
    "steps": 6,
    "accumulation": 2,
    "save_every": 2,
    "lr_gate": 0.01,
    "max_grad_norm": 0.05,  # below the norms here, so that clipping counts
    "questions_per_video": 2,
}
FILES = ("fusion.safetensors", "lora/adapter_model.safetensors")
BOUND = 1e-5
needed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="DeepSpeed is not installed: pip install 'video-pave[deepspeed]'",
)


def _run(folder: Path, name: str, **settings: object) -> tuple[int, str]:
    """How a run of two processes ended, and what it said."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = launch.launched([str(script), str(folder), name, repr({**SETTINGS, **settings})])
    return done.returncode, done.stdout + done.stderr[-4000:]


def _rows(folder: Path, key: str) -> list[float]:
    rows = (folder / "train_log.jsonl").read_text().splitlines()
    return [json.loads(row)[key] for row in rows]


def _apart(ours: Path, theirs: Path) -> float:
    """The largest difference between two patches' weights."""
    found = 0.0
    for name in FILES:
        one, two = load_file(ours / "patch" / name), load_file(theirs / "patch" / name)
        assert one.keys() == two.keys()
        found = max(found, *(float((one[key] - two[key]).abs().max()) for key in one))
    return found


@needed
@pytest.mark.slow
def test_zero_2_equals_one_process_and_survives_a_kill(tmp_path):
    toy.records(tmp_path, clips=2, questions=2, with_channel=1)
    settings = {**SETTINGS, "batch_clips": 1, "accumulation": 4}
    train(toy.config(tmp_path, "one", **settings), base=tiny.base(), progress=False)
    zero = {"trainer": {"deepspeed": ZERO}}
    code, said = _run(tmp_path, "zero", **zero)
    assert code == 0, said
    assert _apart(tmp_path / "zero", tmp_path / "one") < BOUND
    for key in ("loss", "grad_norm"):
        ours = _rows(tmp_path / "zero", key)
        assert ours == pytest.approx(_rows(tmp_path / "one", key), abs=BOUND)
    # Killed at step 5, it goes on from 4, with DeepSpeed and without.
    code, said = _run(tmp_path, "killed", killed=5, **zero)
    assert code
    made = tmp_path / "killed" / "checkpoints"
    assert [path.name for path in sorted(made.iterdir())] == ["checkpoint-2", "checkpoint-4"]
    _same_moments(made / "checkpoint-4", tmp_path / "one" / "checkpoints" / "checkpoint-4")
    shutil.copytree(tmp_path / "killed", tmp_path / "without")
    for name, way in (("killed", zero), ("without", {})):
        code, said = _run(tmp_path, name, **way)
        assert code == 0 and "resumed from 4" in said, said
        assert _apart(tmp_path / name, tmp_path / "one") < BOUND


def _same_moments(ours: Path, theirs: Path) -> None:
    """The optimiser's state of a checkpoint is that of a run without DeepSpeed."""
    one, two = (torch.load(path / "optimizer.pt", weights_only=True) for path in (ours, theirs))
    assert one["state"].keys() == two["state"].keys()
    assert [group["params"] for group in one["param_groups"]] == [
        group["params"] for group in two["param_groups"]
    ]
    for number, state in one["state"].items():
        for name, value in state.items():
            assert torch.allclose(value, two["state"][number][name], atol=BOUND), (number, name)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"zero_optimization": {"stage": 3}}, "ZeRO-3 would cut the frozen base"),
        ({"zero_optimization": {"stage": 1}}, "stage must be 2, got 1"),
        ({}, "stage must be 2, got None"),
        ({**ZERO, "optimizer": {"type": "AdamW"}}, "deepspeed.optimizer is not supported"),
        ({**ZERO, "fp16": {"enabled": True}}, "use `precision`"),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
            "offload_optimizer needs DeepSpeed's own Adam",
        ),
        (
            {"zero_optimization": {"stage": 2, "round_robin_gradients": True}},
            "round_robin_gradients",
        ),
        (ZERO, "there is one; start them with torchrun"),
    ],
)
def test_what_deepspeed_does_not_do_is_refused(tmp_path, given, told):
    toy.records(tmp_path, clips=2)
    with pytest.raises(ConfigError, match=told):
        config = toy.config(tmp_path, steps=1, trainer={"deepspeed": given})
        train(config, base=tiny.base(), progress=False)
    assert not (tmp_path / "run").exists()


def test_settings_of_deepspeed_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.records(tmp_path, clips=2)
    with pytest.raises(ConfigError, match="zero.json"):
        toy.config(tmp_path, steps=1, trainer={"deepspeed": "zero.json"})
    Path("zero.json").write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    with pytest.raises(ConfigError, match="ZeRO-3"):
        toy.config(tmp_path, steps=1, trainer={"deepspeed": "zero.json"})
