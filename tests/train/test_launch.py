"""What a launch of several processes needs, and what it is told where that is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from helpers import launch, tiny, toy
from pave.cli.launched import own_shard
from pave.errors import ConfigError, TrainError
from pave.launcher import must_be_known, must_train_together, processes
from pave.train import train
from pave.train.together import whole

SCRIPT = """
import sys
from pathlib import Path
from helpers import tiny, toy
from pave.errors import PaveError
from pave.train import train
out, settings = sys.argv[1], eval(sys.argv[2])
folder = Path(sys.argv[3])
config = toy.config(folder, batch_clips=1, **settings).model_copy(update={"out": Path(out)})
try:
    print("resumed from", train(config, base=tiny.base(), progress=False).resumed_from)
except PaveError as error:
    sys.exit(f"told: {error}")
"""


@pytest.mark.parametrize(
    "variable, name",
    [("SLURM_STEP_NUM_TASKS", "srun"), ("OMPI_COMM_WORLD_SIZE", "mpirun"), ("PMI_SIZE", "mpirun")],
)
def test_processes_that_do_not_know_of_each_other(monkeypatch, variable, name):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv(variable, "4")
    with pytest.raises(ConfigError, match=f"{name} started 4 processes .* one torchrun on each"):
        must_train_together(1, "cpu")
    with pytest.raises(ConfigError, match=name):
        own_shard(None)
    assert own_shard("2/4") == "2/4"  # each was given its part
    monkeypatch.setenv("RANK", "0")  # of a torchrun in a task of srun
    must_be_known()
    monkeypatch.setenv(variable, "1")
    monkeypatch.delenv("RANK")
    must_be_known()


def test_a_launch_that_would_train_alone(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes() == 2
    must_train_together(2, "cpu")
    with pytest.raises(ConfigError, match="2 processes were started, and on the device mps each"):
        must_train_together(1, "mps")
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as accelerate launch sets it
    must_train_together(1, "cpu")  # one process was asked for
    monkeypatch.setenv("MASTER_PORT", "29500")  # and this one for several
    with pytest.raises(ConfigError, match="a single process on a CPU, .*use torchrun"):
        must_train_together(1, "cpu")
    must_train_together(1, "cuda")  # where it starts as many as it is asked for
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # but not by accelerate launch --cpu
    with pytest.raises(ConfigError, match="a single process on a CPU"):
        must_train_together(1, "cuda")


def test_a_lost_process_is_said_in_a_line():
    class Args:
        world_size = 2

    gone = RuntimeError("[gloo/transport/tcp/pair.cc:543] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(TrainError, match="another of the 2 processes"), whole(Args()):
        raise gone
    with pytest.raises(RuntimeError, match="of our own"), whole(Args()):
        raise RuntimeError("of our own")


@pytest.mark.slow
def test_accelerate_launch_on_a_cpu(tmp_path):
    toy.records(tmp_path, clips=2)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def launched(processes: str) -> subprocess.CompletedProcess[str]:
        words = ["accelerate.commands.launch", "--cpu", "--num_processes", processes]
        return subprocess.run(
            [sys.executable, "-m", *words, str(script), "run", "{'steps': 1}", str(tmp_path)],
            env=launch.environment(),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
        )

    two = launched("2")
    assert two.returncode
    assert "told: accelerate launch starts a single process on a CPU" in two.stderr
    assert not (tmp_path / "run").exists()
    one = launched("1")
    assert one.returncode == 0, one.stderr[-3000:]
    assert (tmp_path / "run" / "patch").is_dir()


@pytest.mark.slow
def test_two_machines_with_a_common_folder_and_without(tmp_path):
    toy.records(tmp_path, clips=2, questions=2)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    settings = repr({"steps": 3, "lr_gate": 0.01})
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    apart = launch.on_two_machines([str(script), "run", settings, str(tmp_path)], places)
    for code, _, told in apart:
        assert code
        assert "told: out run: the folder that the first process has on" in told
    # Nothing was trained, and nothing left that another run would stumble over.
    assert [*places[0].rglob("*")] + [*places[1].rglob("*")] == [places[0] / "run"]
    out = str(tmp_path / "common")
    ended = launch.on_two_machines([str(script), out, settings, str(tmp_path)], places)
    assert [code for code, _, _ in ended] == [0, 0], ended
    one = train(
        toy.config(tmp_path, "one", batch_clips=2, steps=3, lr_gate=0.01),
        base=tiny.base(),
        progress=False,
    )
    for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
        ours, theirs = load_file(one.patch / name), load_file(Path(out) / "patch" / name)
        assert max((ours[key] - theirs[key]).abs().max() for key in ours) < 1e-4


@pytest.mark.slow
def test_a_killed_process_ends_the_other_with_a_line_and_the_run_resumes(tmp_path):
    toy.records(tmp_path, clips=2, questions=2)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    settings = {"steps": 60, "save_every": 5, "lr_gate": 0.01}
    words = [str(script), str(tmp_path / "run"), repr(settings), str(tmp_path)]
    port = str(launch.free_port())
    ranks = []
    for rank in range(2):
        # As torchrun's, but without it, which would end the other with a signal of its own.
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        known = {name: str(value) for name, value in names.items()}
        env = launch.environment(**known, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        ranks.append(
            subprocess.Popen([sys.executable, *words], env=env, stderr=subprocess.PIPE, text=True)
        )
    until = time.monotonic() + 120
    while not list((tmp_path / "run").glob("checkpoints/checkpoint-*")):
        assert time.monotonic() < until and ranks[1].poll() is None
        time.sleep(0.05)
    os.kill(ranks[1].pid, signal.SIGKILL)
    _, told = ranks[0].communicate(timeout=120)
    ranks[1].communicate()
    assert ranks[0].returncode == 1
    assert "told: another of the 2 processes of this run has ended" in told
    again = launch.launched(words)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout.count("resumed from") == 2 and "resumed from 0" not in again.stdout
    alone = toy.config(tmp_path, "one", batch_clips=2, **settings)
    one = train(alone, base=tiny.base(), progress=False)
    for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
        ours, theirs = load_file(one.patch / name), load_file(tmp_path / "run" / "patch" / name)
        assert max((ours[key] - theirs[key]).abs().max() for key in ours) < 1e-3


def test_what_a_killed_start_left_is_removed(tmp_path):
    toy.records(tmp_path, clips=2)
    config = toy.config(tmp_path, steps=1)
    config.out.mkdir()
    old, new = config.out / ".together-old", config.out / ".together-new"
    old.touch()
    new.touch()  # another start may look for it right now
    past = time.time() - 3600
    os.utime(old, (past, past))
    train(config, base=tiny.base(), progress=False)
    assert not old.exists() and new.exists()


@pytest.mark.slow
def test_what_the_first_process_finds_out_all_are_told(tmp_path):
    toy.records(tmp_path, clips=2, questions=2)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [str(script), str(tmp_path / "run")]
    train(toy.config(tmp_path, steps=2, save_every=1), base=tiny.base(), progress=False)
    second = launch.launched([*words, "{'steps': 2, 'seed': 7}", str(tmp_path)])
    assert second.returncode
    assert second.stderr.count("told: ") == 2
    assert second.stderr.count("holds a run with other seed") == 2
    own = "{'steps': 2, 'seed': int(__import__('os').environ['RANK'])}"
    third = launch.launched([*words, own, str(tmp_path)])
    assert third.stderr.count("the processes of this run have different seed") == 2
