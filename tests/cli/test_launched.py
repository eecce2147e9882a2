"""Verbs in a launch of several processes: each does its part, or says that it is made for one."""

from __future__ import annotations

import json

import pytest

from helpers import launch, tinyrun
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
def test_two_processes_of_torchrun_share_clips_and_questions(tmp_path):
    """Each clip is encoded and each question answered once; the files are those of one process."""
    made = tinyrun.make(tmp_path, clips=20)
    tokens = ["extract", str(made.records), "--channel", "audio", "--encoder", "mel", "--json"]
    done = launch.launched(["-m", "pave", *tokens, "--cache", str(tmp_path / "tokens")])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('"skipped": []') == 2
    # Of 20 clips one is silent; units of 8, 8 and 4 go to two processes.
    assert [done.stdout.count(f'"made": {count}') for count in (8, 11)] == [1, 1]
    words = ["eval", "--records", str(made.records), "--base", str(made.base), "--frames", "4"]
    words += ["--arms.base", "none", "--arms.sound", str(made.patch), "--max-new-tokens", "4"]
    words += ["--no-plot", "--batch", "3", "--cache", str(tmp_path / "tokens"), "--limit", "4"]
    done = launch.launched(["-m", "pave", *words, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr[-3000:]
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
    assert "no clip of 2 could be encoded; the first: " in told.err
