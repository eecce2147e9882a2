"""`pave demo` and `pave world`, found by their entry points."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pave.cli.verbs import all_verbs, find_verb

Pave = Callable[..., tuple[int, str, str]]


def test_both_verbs_are_listed(run: Pave) -> None:
    assert {"demo", "world"} <= {verb.name for verb in all_verbs()}
    for verb in ("demo", "world"):
        code, out, err = run(verb, "--help")
        assert (code, err) == (0, "") and f"pave {verb}" in out
        summary = find_verb(verb).summary()
        assert summary.endswith(".") and summary[:40] in run("--help")[1]


def test_user_errors_are_one_line_and_exit_2(run: Pave, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a folder")
    for words in (
        ("world", tmp_path / "w", "--split", "exam"),
        ("world", tmp_path / "w", "--clips", 0),
        ("world", tmp_path / "w", "--channel", "smell"),
        ("world", text / "w", "--clips", 1),
        ("demo", "--channel", "smell"),
        ("demo", "--full", "--out", text / "demo", "--train-clips", 1),
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, ""), (words, err)
        assert err.startswith("pave: error: ") and err.count("\n") == 1 and len(err) > 30, err
    long = "x" * 300
    assert f"cannot use {long}: {os.strerror(errno.ENAMETOOLONG)}" in run("world", long)[2]


@pytest.mark.parametrize("channel", ["audio", "scene3d", "views", "frames"])
def test_world_makes_clips_for_every_channel(run: Pave, tmp_path: Path, channel: str) -> None:
    code, out, err = run("world", tmp_path / "w", "--channel", channel, "--clips", 1, "--json")
    made = json.loads(out)
    assert code == 0, err
    assert (made["channel"], made["clips"]) == (channel, 1) and made["questions"] > 4
    lines = Path(made["records"]).read_text().splitlines()
    assert {json.loads(line)["meta"]["channel"] for line in lines} == {channel, "video"}


@pytest.mark.parametrize(("old", "new"), [("sound", "audio"), ("visual", "video")])
def test_the_old_words_are_understood(run: Pave, tmp_path: Path, old: str, new: str) -> None:
    words = ("world", tmp_path / "w", "--clips", 1, "--json")
    code, out, err = run(*words, "--kind", old)
    assert code == 0 and json.loads(out)["channel"] == new
    assert err == "pave: --kind is called --channel now\n"
    assert run(*words, "--channel", new)[1] == out
