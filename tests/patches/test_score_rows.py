"""Scores that a patch was saved with: one table with a column for each arm, in short numbers."""

from __future__ import annotations

import pytest

from pave.cli import main
from pave.patches.score_rows import how_to_read, shown_scores


def row(arm: str, family: str, right: int, n: int) -> dict[str, object]:
    share = right / n
    return {
        "arm": arm,
        "family": family,
        "n": n,
        "correct": right,
        "accuracy": share,
        "ci95": [share / 2, min(1.0, 2 * share)],
    }


def test_arms_stand_side_by_side_in_percent() -> None:
    rows = [row("base", "all", 1, 3), row("patch", "all", 2, 3), row("base", "audio", 0, 1)]
    assert shown_scores(rows) == [
        {
            "questions": "all",
            "n": "3",
            "base": "33.3 (16.7 to 66.7)",
            "patch": "66.7 (33.3 to 100.0)",
        },
        {"questions": "audio", "n": "1", "base": "0.0 (0.0 to 0.0)"},
    ]
    assert "percent" in how_to_read(rows)


@pytest.mark.parametrize("interval", [None, [], [0.1], ["a", "b"], "none"])
def test_an_arm_without_an_interval(interval: object) -> None:
    rows = [{**row("base", "all", 1, 4), "ci95": interval}]
    assert shown_scores(rows) == [{"questions": "all", "n": "4", "base": "25.0"}]


def test_rows_of_another_form_keep_their_columns() -> None:
    rows = [{"score": "CIDEr", "value": 1.23456789, "ends": [0.5, 1]}, {"arm": "base"}]
    assert shown_scores(rows) == [
        {"score": "CIDEr", "value": "1.235", "ends": "0.5, 1"},
        {"arm": "base"},
    ]
    assert how_to_read(rows) == how_to_read([]) == ""


def test_info_shows_the_scores_of_the_shipped_patch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "sound-demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (head,) = [line for line in lines if line.startswith("questions ")]
    assert head.split() == ["questions", "n", "base", "LoRA-only", "audio-patch"]
    (audio,) = [line for line in lines if line.startswith("audio ")]
    # 140, 187 and 290 of 380 questions that need sound, as its folder says.
    assert [word for word in audio.split() if "." in word][::3] == ["36.8", "49.2", "76.3"]
    assert all(len(line) < 100 for line in lines[lines.index(head) :])
