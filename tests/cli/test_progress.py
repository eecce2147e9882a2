"""Progress where there is no terminal: a line now and then, with the time that is left."""

from __future__ import annotations

import pytest

from pave.cli import output


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = output.Lines(lambda: now)
    for done in range(61):  # two seconds a batch
        lines("sound", done, 60)
        now += 2
    told = capsys.readouterr().err.splitlines()
    # After 10 s, then every 30 s: 5 done of 60 means 55 * 2 s are left.
    assert told == [
        "pave: sound: 5 of 60, about 1 min 50 s left",
        "pave: sound: 20 of 60, about 1 min 20 s left",
        "pave: sound: 35 of 60, about 50 s left",
        "pave: sound: 50 of 60, about 20 s left",
    ]


def test_what_was_done_before_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = output.Lines(lambda: now)
    lines("base", 90, 100)  # a run that goes on
    now = 20.0
    lines("base", 91, 100)
    assert capsys.readouterr().err == "pave: base: 91 of 100, about 3 min 0 s left\n"


def test_quick_stages_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with output.stages() as stages:
        for done in range(100):
            stages("read", done, 99)
    assert capsys.readouterr() == ("", "")
