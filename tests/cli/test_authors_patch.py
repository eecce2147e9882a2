"""A patch of the authors on their features and a public test set.

By command, it answers what their own code answers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import paper
from pave.cli import main
from pave.metrics import captions

QUESTION = "What is the sound in the video?"


def test_convert_prepare_and_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captions, "find_java", lambda: None)
    (tmp_path / "tiny.json").write_text(json.dumps(paper.KWARGS))
    dialogs = [
        {"image_id": name, "dialog": [{"question": QUESTION, "answer": "a dog"}]}
        for name in ("vidA", "vidB")
    ]
    (tmp_path / "mock.json").write_text(json.dumps({"dialogs": dialogs}))

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    patch, records, out = tmp_path / "patch", tmp_path / "test.jsonl", tmp_path / "eval"
    made = ["--model-args", tmp_path / "tiny.json", "--channel", "audio", "--out", patch]
    run("convert", paper.ROOT / "pave_tiny_lora", "--base", paper.BASE, *made)
    where = [
        "--media",
        paper.DATA / "vid",
        "--authors-features",
        paper.DATA / "feat",
        "--out",
        records,
    ]
    run("prepare", "avsd", "--annotations", tmp_path / "mock.json", "--split", "test", *where)
    arms = ["--arms.base", "none", "--arms.authors", patch]
    asked = [
        "--frames",
        paper.FRAMES,
        "--max-new-tokens",
        6,
        "--task",
        "avsd",
        "--style",
        "authors",
        "--resamples",
        100,
    ]
    report = json.loads(
        run(
            "eval",
            "--records",
            records,
            "--base",
            paper.BASE,
            "--out",
            out,
            *asked,
            *arms,
            "--json",
        )
    )
    assert report["task"]["style"] == "authors" and report["task"]["scored"] == 2

    said = {
        arm: [json.loads(line) for line in (out / f"{arm}.jsonl").read_text().splitlines()]
        for arm in ("base", "authors")
    }
    decode = paper.base().decode
    for row in said["authors"]:
        assert row["prediction"] == decode(paper.FACTS[f"infer_audio_{row['id']}.greedy_tokens"])
    assert [row["prediction"] for row in said["base"]] != [
        row["prediction"] for row in said["authors"]
    ]
