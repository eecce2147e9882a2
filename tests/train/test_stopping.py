"""A run that is stopped keeps its step, and a folder takes one run at a time."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from helpers import tiny, toy
from pave.errors import ConfigError, TrainError
from pave.files import held_alone
from pave.model import PatchedModel
from pave.train import train
from pave.train.progress import Reporter

SETTINGS = {"steps": 6, "save_every": 100, "batch_clips": 2, "lora__dropout": 0.2, "lr_gate": 0.01}

STOPPED = """
import os, signal, sys
from pathlib import Path
from helpers import tiny, toy
from pave.train import train
from pave.train.progress import Reporter

def told(self, args, state, *rest, **more):
    if state.global_step == 2:
        os.kill(os.getpid(), signal.SIGTERM)

Reporter.on_step_begin = told
train(toy.config(Path(sys.argv[1]), "stopped", **eval(sys.argv[2])), base=tiny.base(),
      progress=False)
"""


def _weights(patch: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(patch.rglob("*.safetensors"))]


@pytest.mark.slow
def test_sigterm_keeps_the_step_and_the_rest_is_bit_equal(tmp_path):
    toy.records(tmp_path, clips=4)
    here = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(here), str(here.parent / "src")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path), repr(SETTINGS)],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr[-2000:]
    assert "stopped after step 3 and saved it; repeat the command to resume" in done.stderr
    checkpoints = tmp_path / "stopped" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-3"]
    whole = train(toy.config(tmp_path, "whole", **SETTINGS), base=tiny.base(), progress=False)
    rest = train(toy.config(tmp_path, "stopped", **SETTINGS), base=tiny.base(), progress=False)
    assert (rest.resumed_from, rest.steps) == (3, 6)
    assert _weights(rest.patch) == _weights(whole.patch)


def test_control_c_keeps_the_step_and_says_where_it_goes_on(tmp_path, monkeypatch, caplog):
    toy.records(tmp_path, clips=2)
    config = toy.config(tmp_path, **SETTINGS)

    def press(self, args, state, *rest, **more):
        if state.global_step == 1:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "on_step_begin", press)
        with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
            train(config, base=tiny.base(), progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert "starting at step 0" in caplog.text
    assert "stopped after step 2" in caplog.text
    with caplog.at_level(logging.INFO):
        assert train(config, base=tiny.base(), progress=False).resumed_from == 2
    assert "resuming at step 2" in caplog.text


def test_a_second_control_c_ends_at_once(tmp_path, monkeypatch):
    toy.records(tmp_path, clips=2)

    def press(self, *args, **more):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Reporter, "on_step_begin", press)
    config = toy.config(tmp_path, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train(config, base=tiny.base(), progress=False)
    assert not list((config.out / "checkpoints").iterdir())


def test_other_threads_train_without_signals(tmp_path):
    toy.records(tmp_path, clips=2)
    results = []
    config = toy.config(tmp_path, steps=1)
    thread = threading.Thread(
        target=lambda: results.append(train(config, base=tiny.base(), progress=False))
    )
    thread.start()
    thread.join()
    assert results[0].steps == 1


def test_two_runs_do_not_share_a_folder(tmp_path):
    toy.records(tmp_path, clips=2)
    config = toy.config(tmp_path, steps=1)
    refused = pytest.raises(TrainError, match="another process is using .*run; wait for it")
    with held_alone(config.out, ConfigError, "wait"), refused:
        train(config, base=tiny.base(), progress=False)
    assert train(config, base=tiny.base(), progress=False).steps == 1


@pytest.mark.parametrize(
    "other", [{"batch_clips": 1, "accumulation": 2}, {"gradient_checkpointing": True}]
)
def test_what_keeps_the_mathematics_may_change_on_the_way(tmp_path, monkeypatch, other):
    """The weights differ by rounding alone: float32, 6 steps."""
    toy.records(tmp_path, clips=4)
    settings = {**SETTINGS, "lora__dropout": 0.0}
    whole = train(toy.config(tmp_path, "whole", **settings), base=tiny.base(), progress=False)

    def press(self, args, state, control, **more):
        if state.global_step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "on_step_begin", press)
        with pytest.raises(KeyboardInterrupt):
            train(toy.config(tmp_path, "cut", **settings), base=tiny.base(), progress=False)
    config = toy.config(tmp_path, "cut", **{**settings, **other})
    rest = train(config, base=tiny.base(), progress=False)
    assert rest.resumed_from == 4  # the signal came behind the third step's look at it
    base = PatchedModel(tiny.base())
    one, two = base.load_patch(whole.patch, name="one"), base.load_patch(rest.patch, name="two")
    first, second = base.patches[one].fusion, base.patches[two].fusion
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], atol=2e-4, rtol=1e-3)
