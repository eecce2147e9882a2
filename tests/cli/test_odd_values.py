"""Odd values, as they are typed by accident: one line, exit code 2, and nothing is begun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pave
from helpers import paper
from pave.cli import main
from pave.media import write_video


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("pave: error: ") and said.err.count("\n") == 1 and not said.out
    return said.err


@pytest.fixture
def video(tmp_path: Path) -> Path:
    import numpy as np

    return write_video(tmp_path / "clip.mp4", [np.zeros((32, 32, 3), np.uint8)] * 4, 4)


@pytest.mark.parametrize("base", ["", "./nope", "../x", "models/a/b", "a//b"])
def test_what_can_be_no_base(
    base: str, video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(video.parent)  # where nothing else lies
    assert "a base is" in refused(capsys, "ask", video, "Hm?", "--base", base)
    assert "a base is" in refused(capsys, "estimate", "V5_1_3", "--base", base)


def test_a_file_is_no_token_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "records.jsonl").write_text(
        '{"id": "a", "video": "file", "turns": [{"question": "?", "answer": "b"}]}\n'
    )
    for cache in (file, file / "below"):
        words = (
            "extract",
            tmp_path / "records.jsonl",
            "--channel",
            "audio",
            "--encoder",
            "mel",
            "--cache",
            cache,
        )
        said = f"{cache} cannot be used as a token cache (Not a directory); choose another folder"
        assert said in refused(capsys, *words)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[1]", b"null", b"", b"[" * 3000, b"{"])
def test_arguments_of_a_model_that_are_no_mapping(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "arguments.json"
    file.write_bytes(content)
    words = (
        "convert",
        paper.ROOT / "pave_tiny_lora",
        "--base",
        paper.BASE,
        "--out",
        tmp_path / "patch",
    )
    told = refused(capsys, *words, "--model-args", file)
    assert str(file) in told
    assert "settings such as `input_dim: 1024`" in told


def test_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "correct": true}\n')
    assert "resamples must be 100" in refused(capsys, "compare", rows, rows, "--resamples", 99)
    assert "seed must be 0 or more" in refused(capsys, "compare", rows, rows, "--seed", -1)
    assert "seed must be 0 or more" in refused(
        capsys, "score", "avqa", "--predictions", rows, "--seed", -1
    )
    for seed in (-1, 2**32):
        train = ("train", "--records", rows, "--out", tmp_path / "run", "--seed", seed)
        assert "--seed" in refused(capsys, *train)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_of_the_demo(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("pave_world")
    assert "--seed" in refused(capsys, "demo", "--out", tmp_path / "demo", "--seed", seed)
    assert not (tmp_path / "demo").exists()


def test_numbers_beyond_use(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for flag in ("--frames", "--max-new-tokens"):
        assert "at most" in refused(capsys, "ask", video, "Hm?", flag, 10**30)
        assert flag in refused(
            capsys, "eval", "--records", "r", "--out", tmp_path / "eval", flag, 10**30
        )


def test_a_name_that_is_too_long(capsys: pytest.CaptureFixture[str]):
    assert "xxx" in refused(capsys, "info", "x" * 5000)


def test_an_empty_verb(capsys: pytest.CaptureFixture[str]):
    assert "unknown command ''" in refused(capsys, "")


def test_a_question_in_another_encoding(video: Path, capsys: pytest.CaptureFixture[str]):
    assert "not valid UTF-8" in refused(capsys, "ask", video, "\udcff")


def test_characters_that_the_terminal_lacks_are_spelt_out(video: Path):
    named = video.rename(video.with_name("é.mp4"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(pave.__file__).parents[1]),
        "PYTHONIOENCODING": "ascii",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pave", "info", str(named)], capture_output=True, env=environment
    )
    assert done.returncode == 0 and b"\\xe9.mp4" in done.stdout


def test_a_channel_that_is_nested_too_deeply(video: Path, capsys: pytest.CaptureFixture[str]):
    twice = ("--channel", "audio=a.wav", "--channel", "audio=b.wav")
    for verb in (("ask", video, "Hm?"), ("chat", video)):
        assert "--channel audio is given twice" in refused(capsys, *verb, *twice)
    batch = ("ask", "--batch", "q.jsonl", "--out", "a.jsonl")
    for words in (twice[:2], ("--stream",), ("--json",)):
        assert "cannot be used with --batch" in refused(capsys, *batch, *words)
    words = ("ask", video, "Hm?", "--channel", "views=" + "[" * 5000)
    assert "--channel views: lists or objects are nested too deeply" in refused(capsys, *words)
