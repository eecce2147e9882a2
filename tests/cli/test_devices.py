"""Every verb that runs a base asks for the GPU where there is one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny, tinyrun
from pave.bases import load_base
from pave.cli.app import main


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
