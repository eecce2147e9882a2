"""Verbs in a launch of several processes: each does its part, or says that it is made for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import tinyrun
from pave.cli import main
from pave.cli.launched import check_verb, own_shard
from pave.errors import ConfigError


@pytest.fixture
def second_of_three(monkeypatch):
    """The environment that torchrun gives its second process."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")


def test_a_process_of_a_launch_has_its_part(second_of_three):
    assert own_shard(None) == "2/3"
    with pytest.raises(ConfigError, match="--shard 1/2 and 3 processes .* divide the work twice"):
        own_shard("1/2")
    for verb in ("train", "eval", "extract"):
        check_verb(verb)


@pytest.mark.parametrize("verb", ["ask", "demo", "prepare", "convert"])
def test_a_verb_for_one_process_says_so(second_of_three, capsys, verb):
    if verb == "demo":
        pytest.importorskip("pave_world")
    assert main([verb, "x"]) == 2
    assert f"pave {verb} works in one process but was started in 3" in capsys.readouterr().err


@pytest.mark.parametrize("rank, size", [("", "2"), ("0", ""), ("0", "1"), ("x", "y")])
def test_alone_nothing_changes(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert own_shard("2/8") == "2/8"
    assert own_shard(None) is None
    check_verb("ask")


@pytest.mark.slow
def test_two_processes_answer_each_question_once(tmp_path):
    """As torchrun starts them; the files are those of one process."""
    made = tinyrun.make(tmp_path, clips=4)
    words = ["eval", "--records", str(made.records), "--base", str(made.base), "--frames", "4"]
    words += ["--arms.base", "none", "--arms.sound", str(made.patch), "--max-new-tokens", "4"]
    words += ["--no-plot", "--batch", "3", "--cache", str(tmp_path / "tokens")]
    here = Path(__file__).resolve().parents[2]
    running = []
    for rank in range(2):
        env = os.environ | {"PYTHONPATH": str(here / "src"), "OMP_NUM_THREADS": "1"}
        env |= {"RANK": str(rank), "WORLD_SIZE": "2"}
        command = [sys.executable, "-m", "pave", *words, "--out", str(tmp_path / "two")]
        running.append(subprocess.Popen(command, env=env, stdout=-1, stderr=-1, text=True))
    told = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    assert any("all" in out for out, _ in told)
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    for arm in ("base", "sound"):
        rows = (tmp_path / "two" / f"{arm}.jsonl").read_text()
        assert rows == (tmp_path / "one" / f"{arm}.jsonl").read_text()
        ids = [json.loads(row)["id"] for row in rows.splitlines()]
        assert len(ids) == len(set(ids)) == 12


def test_extract_fails_where_no_clip_can_be_used(tmp_path, capsys):
    made = tinyrun.make(tmp_path, clips=2)
    words = ["extract", str(made.records), "--channel", "audio", "--encoder", "mel"]
    made.loud.write_bytes(b"no video")
    capsys.readouterr()
    assert main([*words, "--cache", str(tmp_path / "some")]) == 0
    assert "skipped audio of" in capsys.readouterr().out
    for file in tmp_path.glob("*.mp4"):
        file.write_bytes(b"no video")
    assert main([*words, "--cache", str(tmp_path / "none")]) == 2
    told = capsys.readouterr()
    assert "skipped audio of" in told.out
    assert "none of the 2 clips could be encoded; the first: " in told.err
