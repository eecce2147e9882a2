"""The page "From a folder of clips to a patch", followed to the letter."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from pave.cli import main
from pave.data import read_records
from pave_world.films.make import make_world

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "from-clips-to-a-patch.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLIPS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a newcomer has it: clips, and a table of questions; the page's clip is there."""
    made = make_world(tmp_path / "made", split="train", clips=CLIPS)
    clips = tmp_path / "own" / "clips"
    clips.mkdir(parents=True)
    names: dict[str, str] = {}
    rows = [["video", "question", "answer", "family"]]
    for record in read_records(made):
        name = names.setdefault(record.video, f"dog-{len(names) + 1}.mp4")
        shutil.copy(record.video, clips / name)
        (turn,) = record.turns
        rows.append([name, turn.question, turn.answer or "", str(record.meta["family"])])
    with (clips.parent / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return clips.parent


@pytest.mark.slow
def test_it_ends_with_a_patch_and_its_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    said = []
    for kind, code in BLOCK.findall(PAGE.read_text("utf-8")):
        if kind == "yaml":
            (folder / "sound.yaml").write_text(code)
        if kind != "bash":
            continue
        for line in code.splitlines():
            program, *words = shlex.split(line.partition(" > ")[0])
            assert program == "pave"
            # In this process: to start a process for each line would take most of the time.
            code_of_exit = main(words)
            out, err = capsys.readouterr()
            assert code_of_exit == 0, f"{line}\n{err[-3000:]}"
            said.append(out)
            if " > " in line:
                (folder / line.partition(" > ")[2]).write_text(out)
    results = json.loads((folder / "runs" / "eval" / "results.json").read_text("utf-8"))
    assert {row["arm"] for row in results["arms"]} == {"base", "lora", "sound"}
    assert "sound" in (folder / "runs" / "eval" / "report.md").read_text("utf-8")
    assert json.loads((folder / "train.schema.json").read_text("utf-8"))["properties"]["steps"]
    *_, answer, info = said
    assert answer.strip()
    assert "audio" in info and "mel" in info
    # Training saw none of the clips that the measurement asks about.
    train, test = (
        {record.video for record in read_records(folder / f"{name}.jsonl")}
        for name in ("train", "test")
    )
    assert train and test and not train & test
