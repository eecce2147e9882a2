"""Every task by command line, from public annotation files to a comparison.

That is prepare, extract, train, eval, score, compare. The data sets are invented (`minisets`):
generated clips under the names of the public ones. The base is tiny and training takes
two steps, so this is about the way there: each channel is read from its own media (sound, scans,
other cameras, fast frames), and base, LoRA-only control and patch are asked about the same frames
in one go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import minisets, tiny
from helpers.minisets import TASKS
from pave.cli import main
from pave.metrics import captions
from pave.metrics.java import find_java
from pave.tasks import Task, get_task

Run = Callable[..., Any]
RESAMPLES = ("--resamples", 100)
CHANNELS = {
    "audio": ["--encoder", "mel"],
    "scene3d": ["--encoder", "tower3d", "--encoder-settings.frames", 3],
    "views": ["--encoder", "tower", "--encoder-settings.frames", 3],
    "frames": ["--encoder", "tower"],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    made = tiny.base()
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minisets.films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def run(run: Callable[..., tuple[int, str, str]]) -> Run:
    """Run a command that must succeed; what it printed, parsed where it speaks JSON."""

    def succeed(*words: object) -> Any:
        code, out, err = run(*words)
        assert code == 0, (words, err)
        return json.loads(out) if "--json" in words else out

    return succeed


def _prepared(
    run: Run, name: str, annotations: list[Path], media: Path, split: str, out: Path
) -> Path:
    words = ["--annotations", *annotations, "--media", media, "--split", split, "--out", out]
    summary = run("prepare", name, *words, "--json")
    assert (summary["missing"], summary["without_channel"]) == ([], 0)
    return out


def _trained(
    run: Run, task: Task, learnt: Path, out: Path, shared: list[Any], channel: list[Any]
) -> Path:
    """The patch of a two-step run."""
    small = [
        "--steps",
        2,
        "--batch-clips",
        2,
        "--lora.rank",
        2,
        "--fusion.hidden",
        16,
        "--task",
        task.name,
    ]
    assert str(out / "patch") in run(
        "train", "--records", learnt, *shared, *channel, *small, "--out", out
    )
    return out / "patch"


@pytest.mark.parametrize("name", TASKS)
def test_from_annotations_to_a_comparison(
    name: str,
    run: Run,
    base: Path,
    films: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # METEOR is held by the slow test below: Java takes 8 CPU seconds a scoring, and this test
    # scores 11 times.
    monkeypatch.setattr(captions, "find_java", lambda: None)
    task, data = get_task(name), minisets.make(name, tmp_path, films)
    asked = _prepared(run, name, data.annotations, data.media, data.split, tmp_path / "asked.jsonl")
    split = "train" if "train" in task.splits else data.split
    learnt = _prepared(run, name, data.learnt, data.media, split, tmp_path / "learnt.jsonl")

    shared = ["--base", base, "--frames", 3, "--store", tmp_path / "store"]
    channel = ["--channel", task.channel, *CHANNELS[task.channel]]
    extracted = run("extract", learnt, *channel, "--visual", *shared, "--json")
    assert extracted["made"] > 0 and extracted["skipped"] == [] and extracted["absent"] == 0
    lora = _trained(
        run, task, learnt, tmp_path / "lora", shared, ["--channel", "none", "--encoder", "none"]
    )
    patch = _trained(run, task, learnt, tmp_path / "patch", shared, channel)

    out = tmp_path / "eval"
    words = ["eval", "--records", asked, *shared, "--task", name, "--out", out, *RESAMPLES]
    words += ["--arms.base", "none", "--arms.lora", lora, "--arms.patch", patch]
    if task.score is None:
        assert main([str(word) for word in words]) == 2
        assert "only for training" in capsys.readouterr().err
        return
    report = run(*words, "--json")
    scores = report["task"]
    assert (list(scores["arms"]), scores["scored"], scores["records"]) == (
        ["base", "lora", "patch"],
        data.examples,
        data.examples,
    )
    assert scores["expected"] == task.splits[data.split] and scores["prompt"] == task.prompt.hash
    assert report["settings"]["max_new_tokens"] == task.max_new_tokens
    assert task.title in (out / "report.md").read_text() and (out / "plot.png").is_file()
    _scored_and_compared(run, name, asked, out, scores)

    answers = (out / "patch.jsonl").stat().st_mtime_ns
    theirs = run(*words, "--style", "authors", "--json")["task"]
    again = run("score", name, *_files(out, asked), "--style", "authors", *RESAMPLES, "--json")
    assert theirs["style"] == "authors" and theirs["arms"]["patch"] == again
    assert (out / "patch.jsonl").stat().st_mtime_ns == answers, "another style asks nothing anew"
    shown = run(*words)
    assert (
        f"{data.examples} of {data.examples} items scored" in shown
        and f"Style default, prompt {task.prompt.hash}" in shown
    )


def _files(out: Path, asked: Path) -> list[Any]:
    return ["--predictions", out / "patch.jsonl", "--records", asked]


def _scored_and_compared(
    run: Run, name: str, asked: Path, out: Path, scores: dict[str, Any]
) -> None:
    """`score` and `compare` on the answers give what the evaluation says."""
    rows = out.parent / "patch.rows.jsonl"
    assert (
        run("score", name, *_files(out, asked), "--rows", rows, *RESAMPLES, "--json")
        == scores["arms"]["patch"]
    )
    assert rows.read_bytes() == (out / "items" / "patch.jsonl").read_bytes()
    for arm in ("base", "lora"):
        compared = run("compare", out / "items" / f"{arm}.jsonl", rows, *RESAMPLES, "--json")[
            "rows"
        ]
        gaps = [row for row in scores["gaps"] if (row["a"], row["b"]) == ("patch", arm)]
        key = ("score", "label", "difference")
        assert sorted(tuple(row[k] for k in key) for row in compared) == sorted(
            tuple(row[k] for k in key) for row in gaps
        )


@pytest.mark.slow
@pytest.mark.skipif(find_java() is None, reason="METEOR and the Penn Treebank tokenizer need Java")
def test_meteor_by_command(run: Run, films: Path, tmp_path: Path) -> None:
    data = minisets.make("avsd", tmp_path, films)
    asked = _prepared(
        run, "avsd", data.annotations, data.media, data.split, tmp_path / "asked.jsonl"
    )
    said = tmp_path / "said.jsonl"
    said.write_text(
        "\n".join(json.dumps({"id": f"V{n}", "prediction": "There is a piano."}) for n in range(2))
    )
    report = run("score", "avsd", "--predictions", said, "--records", asked, *RESAMPLES, "--json")
    assert 0 < report["scores"]["METEOR"] < 1 and "METEOR" in report["table"]
    assert "METEOR" in run("score", "avsd", "--predictions", said, "--records", asked, *RESAMPLES)
