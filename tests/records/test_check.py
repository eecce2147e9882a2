"""`pave records check`: everything that is wrong at once, counted and with a few examples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import tiny
from pave.cli import main
from pave.data.check import SHOWN, check_records
from pave.errors import RecordError
from pave.media import write_video


def clip(file: Path, frames: int) -> Path:
    rng = np.random.default_rng(frames)
    return write_video(file, rng.integers(0, 255, (frames, 32, 32, 3), dtype=np.uint8), fps=4)


def line(number: int, video: str, **more: object) -> dict[str, object]:
    turn = {"question": "What is it?", "answer": "a dog"}
    return {"id": str(number), "video": video, "turns": [turn], **more}


def write(file: Path, *rows: object) -> Path:
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return file


@pytest.fixture
def good(tmp_path: Path) -> Path:
    clip(tmp_path / "a.mp4", 8)
    clip(tmp_path / "b.mp4", 16)
    return write(
        tmp_path / "train.jsonl",
        line(1, "a.mp4", channels={"audio": "a.mp4"}),
        line(2, "a.mp4", channels={"audio": "a.mp4"}),
        line(3, "b.mp4"),
    )


def test_good_records(good, capsys):
    assert main(["records", "check", str(good), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["records"], found["clips"], found["channels"]) == (3, 2, {"audio": 2})
    assert found["seconds"] == {"min": 2.0, "median": 3.0, "max": 4.0, "sum": 6.0}
    assert main(["records", "check", str(good), "--fast"]) == 0
    said = capsys.readouterr().out
    assert "nothing is wrong" in said and "seconds a clip" not in said


def test_everything_that_is_wrong(tmp_path, good, capsys):
    """One of each kind, and a long one whose examples are few."""
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:-50])
    shutil.copy(tmp_path / "a.mp4", tmp_path / "copy.mp4")
    clip(tmp_path / "c.mp4", 4)
    broken = ["{"] * (SHOWN + 2)
    file = write(
        tmp_path / "bad.jsonl",
        *broken,
        line(1, "c.mp4"),
        line(1, "cut.mp4"),
        line(2, "gone.mp4"),
        line(3, "copy.mp4"),
        {"id": "4", "video": "c.mp4", "turns": [{"question": "Who?"}]},
        line(5, "b.mp4"),
    )
    found = check_records(file, against=[good], workers=1)
    assert {kind: problem.count for kind, problem in found.problems.items()} == {
        "broken rows": SHOWN + 2,
        "double ids": 1,
        "missing media": 1,
        "unreadable clips": 1,
        "without an answer": 1,
        "clips in two splits": 2,
    }
    assert found.problems["broken rows"].examples[0].startswith(f"{file}:1: not valid JSON")
    (double,) = found.problems["double ids"].examples
    assert double == f"{file}:9: 1, as {file}:8"
    shared = found.problems["clips in two splits"].examples
    assert any(f"copy.mp4 is {tmp_path / 'a.mp4'} in" in text for text in shared)
    assert main(["records", "check", str(file), "--fast"]) == 2
    said = capsys.readouterr().out
    assert f"broken rows: {SHOWN + 2}" in said and "and 2 more" in said


def test_tokens_of_a_base(good):
    """Those that its own tokenizer counts; what is longer than its context is named."""
    base = tiny.base()
    found = check_records(good, base=base, frames=2, fast=True)
    text = "What is it? a dog"
    assert found.text_tokens == [len(base.tokenizer(text)["input_ids"])] * 3
    assert found.clip_tokens and found.clip_tokens > 0
    assert not found.problems
    base.context = found.clip_tokens + 2
    found = check_records(good, base=base, frames=2, fast=True)
    assert found.problems["too long"].count == 3


def test_flags_of_the_other_action_are_refused(good, capsys):
    assert main(["records", "check", str(good), "--clips", "x"]) == 2
    assert "records check has no flag --clips" in capsys.readouterr().err
    assert main(["records", "from-csv", str(good), "--fast"]) == 2
    assert "records from-csv has no flag --fast" in capsys.readouterr().err
    assert main(["records", "from-csv", str(good)]) == 2
    with pytest.raises(RecordError, match="no such file"):
        check_records(good.with_name("nowhere.jsonl"))


def test_a_file_without_one_good_record(tmp_path, capsys):
    """Every row broken, at two readers: told of as any broken row."""
    (tmp_path / "all.json").write_text('[{"video": "a.mp4"}]')
    assert main(["records", "check", str(tmp_path / "all.json")]) == 2
    assert "broken rows: 1" in capsys.readouterr().out
    assert main(["records", "check", str(write(tmp_path / "all.jsonl", "{", "["))]) == 2
    assert "broken rows: 2" in capsys.readouterr().out
