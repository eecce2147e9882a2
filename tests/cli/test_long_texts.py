"""What somebody else wrote never fills the terminal; JSON has all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from helpers import tiny
from pave.cli import output
from pave.model import PatchedModel
from pave.patches import LoraSpec

Run = Callable[..., tuple[int, str, str]]


def test_a_task_of_a_hundred_thousand_letters(tmp_path: Path, run: Run) -> None:
    model = PatchedModel(tiny.base())
    model.new_patch(
        "audio", fusion={"hidden": 16}, lora=LoraSpec(rank=2), seed=0, task="t" * 100_000
    )
    folder = model.save_patch(tmp_path / "patch", training={"note": "n" * 50_000})
    code, out, _ = run("info", folder)
    assert code == 0 and len(out) < 10_000
    assert f"{'t' * 2000} [... 98,000 more characters]" in out
    code, out, _ = run("info", folder, "--json")
    assert code == 0 and json.loads(out)["task"] == "t" * 100_000


def test_cells_and_notes(capsys) -> None:
    output.table(["a", "b"], [["x" * 5000, "y"]])
    output.note("z" * 5000)
    out, err = capsys.readouterr()
    assert len(out) < 2000 and "more characters]" in out
    assert len(err) < 2100 and "3,000 more characters]" in err
