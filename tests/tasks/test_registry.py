"""A task that the program registers works in every verb that takes one."""

from __future__ import annotations

import json
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from helpers import tinyrun
from pave.cli import main
from pave.data import read_records
from pave.errors import ConfigError
from pave.tasks import Example, Prompt, Task, get_task, list_tasks, register_task
from pave.tasks.scoring import matches
from pave.tasks.task import only_file


def _examples(files: Any, split: str, style: str) -> list[Example]:
    rows = only_file(files, "mine.json")
    return [
        Example(
            id=row["id"],
            video_id=row["clip"],
            video=(row["clip"],),
            turns=((row["question"], row["answer"]),),
            answers=(row["answer"],),
            labels=(row["kind"],),
        )
        for row in rows
    ]


@register_task("mine-for-tests")
def mine() -> Task:
    return Task(
        name="mine-for-tests",
        title="My own",
        splits={"test": 2},
        tested_on="test",
        channel="audio",
        annotations="mine.json",
        prompt=Prompt(),
        examples=_examples,
        score=matches,
    )


def test_prepare_eval_score_and_compare_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tinyrun.make(tmp_path, clips=2, questions=1)
    rows = [
        {"id": f"q{n}", "clip": f"clip{n}.mp4", "question": "Hm?", "answer": "dog", "kind": "k"}
        for n in range(2)
    ]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    records, out = tmp_path / "asked.jsonl", tmp_path / "eval"

    def run(*words: object) -> Any:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    name = "mine-for-tests"
    words = ["--annotations", tmp_path / "mine.json", "--media", tmp_path, "--split", "test"]
    assert run("prepare", name, *words, "--out", records, "--json")["expected"] == 2
    assert [record.meta["task"] for record in read_records(records)] == [name] * 2

    words = ["--records", records, "--base", made.base, "--frames", 2, "--out", out, "--no-plot"]
    arms = ["--arms.base", "none", "--arms.sound", made.patch]
    scores = run("eval", *words, *arms, "--task", name, "--json")["task"]
    assert (scores["name"], scores["title"], scores["expected"]) == (name, "My own", 2)
    files = ["--predictions", out / "base.jsonl", "--records", records]
    assert run("score", name, *files, "--json") == scores["arms"]["base"]
    items = [out / "items" / f"{arm}.jsonl" for arm in ("base", "sound")]
    assert run("compare", *items, "--json")["shared"] == 2
    # The default task scores the same records, whoever made them.
    assert run("score", "exact", *files, "--json")["scored"] == 2


def test_a_task_goes_by_one_name() -> None:
    assert "mine-for-tests" in list_tasks() and get_task("mine-for-tests") == mine()

    @register_task("another-for-tests")
    def another() -> Task:
        return mine()

    with pytest.raises(ConfigError, match="'another-for-tests' is named 'mine-for-tests'"):
        get_task("another-for-tests")
    with pytest.raises(ConfigError, match="task 'mine-for-tests' is already registered"):
        register_task("mine-for-tests")(another)


def test_exact_match_makes_no_records(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--annotations", "a.json", "--media", str(tmp_path), "--split", "test", "--out", "o"]
    assert main(["prepare", "exact", *words]) == 2
    assert "scores any records and needs no preparation" in capsys.readouterr().err


def test_what_measures_memory_comes_with_a_dependency() -> None:
    assert any(name.startswith("psutil") for name in requires("accelerate") or [])
