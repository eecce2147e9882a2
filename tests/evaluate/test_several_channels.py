"""A patch with several channels in an evaluation, beside the patches that it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import tiny_patch, tinyrun
from pave.bases import load_base
from pave.cli import main
from pave.data import read_records, write_records
from pave.model import PatchedModel
from pave.patches import LoraSpec


def _answers(file: Path) -> list[str]:
    return [json.loads(line)["prediction"] for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_it_answers_as_its_parts_do(tmp_path: Path) -> None:
    """Combined and evaluated by the commands alone, on clips with both, one, and no channel."""
    made = tinyrun.make(tmp_path / "made")
    model = PatchedModel(load_base(str(made.base)))
    name = model.new_patch(
        "views", encoder="tower", encoder_settings={"frames": 2, "side": 1},
        fusion={"hidden": 16}, lora=LoraSpec(rank=2, dropout=0.0), seed=1,
    )  # fmt: skip
    tiny_patch.wake(model, name, 5)
    seen = model.save_patch(tmp_path / "seen")
    records = []
    for number, record in enumerate(read_records(made.records)):
        views = {"views": [record.video]} if number % 3 else {}
        changes = {"channels": {**record.channels, **views}}
        records.append(record.model_copy(update=changes))
    file = write_records(made.records.parent / "both.jsonl", records)
    assert {tuple(sorted(record.channels)) for record in records} >= {
        ("audio", "views"), ("audio",), ("views",),
    }  # fmt: skip
    parts = [str(made.patch), str(seen)]
    joined = tmp_path / "joined"
    assert main(["combine", *parts, "--out", str(joined), "--base", str(made.base)]) == 0
    arms = ["--arms.beside", ",".join(parts), "--arms.joined", str(joined)]
    rest = ["--frames", "4", "--batch", "5", "--max-new-tokens", "8", "--no-plot"]
    out = tmp_path / "out"
    words = ["--records", str(file), "--base", str(made.base), "--out", str(out), *arms, *rest]
    assert main(["eval", *words]) == 0
    answers = _answers(out / "joined.jsonl")
    assert len(answers) == len(records)
    assert answers == _answers(out / "beside.jsonl")
    assert len(set(answers)) > 1
