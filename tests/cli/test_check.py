"""`pave check`: a table to paste into a report, and an exit code that tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import tinyrun
from pave.cli import main
from pave.testing.base import CHECKS


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinyrun.make(tmp_path_factory.mktemp("made"), clips=1, questions=1).base


def test_a_base_is_told_in_a_table_of_markdown(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(base), "--device", "cpu"]) == 0
    title, empty, header, ruler, *rows = capsys.readouterr().out.splitlines()
    assert f"`{base}`, family llava_onevision; python 3." in title
    assert "torch 2." in title
    assert not empty
    bars = header.count("|")
    assert ruler == "|---|---|---|---:|"
    cells = [row.split(" | ") for row in rows]
    assert [row[0] for row in cells] == [f"| {name}" for name in CHECKS]
    assert {row[1] for row in cells} == {"ok"}
    # A bar inside a cell would tear the table.
    assert {row.replace("\\|", "").count("|") for row in rows} == {bars}


def test_what_is_wrong_ends_it_with_one(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(probe: object) -> str:
        raise AssertionError("two ways, two numbers")

    monkeypatch.setitem(CHECKS, "greedy answers", broken)
    assert main(["check", str(base), "--device", "cpu", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    wrong = [row for row in said["checks"] if row["passed"] is not True]
    assert [row["name"] for row in wrong] == ["greedy answers"]
    assert wrong[0]["found"] == "two ways, two numbers"
    assert "torch" in said["machine"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("{% for message in %}", "chat_template.jinja cannot be rendered"),
        ("", "writes '<video>' 0 times"),
        ("{{ messages[0]['content'][1]['text'] }}", "writes '<video>' 0 times"),
        ("{{ raise_exception('no') }}", "chat_template.jinja cannot be rendered (no)"),
    ],
)
def test_a_broken_chat_template_is_wrong(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    said: str,
) -> None:
    """Said in a line while the base is loaded, and in the row of the chat format."""
    for name in list(CHECKS):
        if name != "chat format":  # nothing else is of interest here
            monkeypatch.delitem(CHECKS, name)
    for file in base.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "chat_template.jinja").write_text(broken)
    assert main(["check", str(tmp_path), "--device", "cpu"]) == 1
    told = capsys.readouterr().out
    assert f"| chat format | WRONG | {tmp_path}: " in told
    assert said in told
    (line,) = caplog.messages
    assert said in line
    assert "the built-in format of llava_onevision is used" in line


def test_what_is_no_base_is_the_user_s_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path / "nothing")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
