"""Every verb that runs a base asks for the GPU where there is one."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny, tinyrun
from pave.bases import Base, load_base
from pave.cli.app import main
from pave.extract import ExtractConfig


class _AskedError(Exception):
    """Raised in place of loading."""


@pytest.mark.parametrize("verb", ["ask", "eval", "extract"])
def test_verbs_take_the_gpu(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tinyrun.make(tmp_path / "made", clips=2, questions=1)
    base, patch = str(made.base), str(made.patch)
    words = {
        "ask": [str(made.loud), "?", "--base", base, "--patch", patch],
        "eval": ["--records", str(made.records), "--out", str(tmp_path / "e"), "--base", base],
        "extract": [str(made.records), "--visual", "--base", base, "--cache", str(tmp_path / "c")],
    }
    words["extract"] += ["--workers", "0"]  # in this process, where it can be seen
    asked = []

    def move(model: Any, device: Any) -> None:
        asked.append(str(device))
        raise _AskedError

    kind = type(tiny.base().model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kind, "to", move)
    with contextlib.suppress(_AskedError, SystemExit):
        main([verb, *words[verb]])
    assert asked == ["cuda"]


def test_without_a_gpu_a_base_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.base()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_base(base.model, base.tokenizer, device="auto").device.type == "cpu"


def _words(verb: str, made: tinyrun.Run, folder: Path) -> list[str]:
    base = ["--base", str(made.base)]
    records = str(made.records)
    return {
        "ask": [str(made.loud), "?", *base, "--patch", str(made.patch)],
        "eval": ["--records", records, "--out", str(folder / "e"), *base, "--no-plot"],
        "extract": [records, "--visual", *base, "--cache", str(folder / "c"), "--workers", "0"],
        "train": ["--records", records, "--out", str(folder / "t"), *base],
    }[verb]


@pytest.mark.parametrize("verb", ["ask", "eval", "extract", "train"])
@pytest.mark.parametrize(
    ("device", "said"),
    [("cuda:1", "device cuda:1: .*use cpu or auto"), ("gpu", "unknown device 'gpu'")],
)
def test_an_impossible_device_is_one_line(
    verb: str,
    device: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = tinyrun.make(tmp_path / "made", clips=1, questions=1)
    capsys.readouterr()
    assert main([verb, *_words(verb, made, tmp_path), "--device", device]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error) and error.count("\n") == 1


@pytest.mark.parametrize("verb", ["ask", "eval", "extract"])
@pytest.mark.parametrize(
    ("word", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("auto", torch.float16)]
)
def test_the_dtype_is_the_base_s(
    verb: str, word: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its files hold, here fp16; auto is that of the files."""
    made = tinyrun.make(tmp_path / "made", clips=1, questions=1)
    base = load_base(made.base, dtype="fp16")
    base.model.save_pretrained(made.base)
    found = []
    visual = Base.visual

    def look(self: Base, *args: Any, **kwargs: Any) -> Any:
        found.append(self.dtype)
        return visual(self, *args, **kwargs)

    monkeypatch.setattr(Base, "visual", look)
    words = [verb, *_words(verb, made, tmp_path), "--device", "cpu", "--dtype", word]
    assert main(words) == 0
    assert set(found) == {dtype}


def test_what_the_dtype_of_an_extraction_was_is_renamed(tmp_path: Path) -> None:
    made = {"records": "r.jsonl", "cache": "c", "channel": "audio", "encoder": "mel"}
    assert ExtractConfig(**made, dtype="exact").cache_dtype == "exact"
    with pytest.raises(ValueError, match="dtype sets the type of the base, but no base is set"):
        ExtractConfig(**made, dtype="bf16")
