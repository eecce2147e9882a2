"""A folder in fp16, of every family: asked, evaluated, trained, saved and loaded.

Checkpoints of LLaVA and Molmo are in fp16, and a user of any family may save one so. The base works
in the type that is asked for, the patch is trained and saved in fp32, and all numbers are finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers import saved, tiny, toy
from pave.bases import Base, load_base
from pave.errors import TrainError
from pave.evaluate import EvalConfig, evaluate
from pave.media import Uniform, read_frames
from pave.model import PatchedModel
from pave.train import TrainConfig, train
from pave.train.folder import _check_same

WORDS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finite(base: Base) -> torch.dtype:
    """The type of a question's logits, which are all finite."""
    clip = base.clip(tiny.frames(4))
    ids = base.encode_prompt(clip.text, [("What?", None)]).ask()
    with torch.no_grad():
        logits = base.model(**base.batch([ids], [clip])).logits
    assert torch.isfinite(logits).all()
    dtype: torch.dtype = logits.dtype
    return dtype


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_asked_evaluated_and_trained(family: str, tmp_path: Path) -> None:
    folder = saved.base(family, tmp_path / "base", torch.float16)
    toy.records(tmp_path, clips=2, questions=1)
    film = read_frames(tmp_path / "frames", Uniform(4))
    # As it is in its files, and in the other two.
    for word, dtype in WORDS.items():
        loaded = load_base(folder, dtype="auto" if word == "fp16" else word)
        assert loaded.dtype == finite(loaded) == dtype
        PatchedModel(loaded).ask(film, "What?", max_new_tokens=2)
    patches = {}
    for word in ("bf16", "fp32"):
        settings = {"steps": 1, "batch_clips": 2, "align_steps": 0}
        told = toy.config(
            tmp_path, word, base=str(folder), precision=word, device="cpu", **settings
        )
        result = train(told, progress=False)
        assert math.isfinite(result.final_loss)
        again = PatchedModel(load_base(folder, dtype=word))
        again.load_patch(result.patch, trainable=True)
        assert again.base.dtype == WORDS[word]
        weights = again.trainable_parameters()
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        assert all(torch.isfinite(tensor).all() for tensor in weights.values())
        again.ask(film, "What?", max_new_tokens=2)
        patches[word] = result.patch
    asked = EvalConfig.model_validate(
        {
            "records": tmp_path / "records.jsonl",
            "out": tmp_path / "scores",
            "base": str(folder),
            "arms": {"base": None, **patches},
            "frames": 4,
            "max_new_tokens": 2,
            "cache": tmp_path / "store",
            "plot": False,
            "device": "cpu",
        }
    )
    evaluate(asked)
    for arm in ("base", *patches):
        rows = (tmp_path / "scores" / f"{arm}.jsonl").read_text().splitlines()
        assert [json.loads(row)["id"] for row in rows] == ["0-0", "1-0"]


def test_records_of_any_format_are_compared_by_their_digest(tmp_path):
    """Only JSONL is read once more, for the digest that an older pave took of it."""
    config = TrainConfig(records=tmp_path / "r.parquet", out=tmp_path / "run")
    note = tmp_path / "run.json"
    note.write_text(json.dumps({"records": "a digest"}))
    _check_same(note, {"records": "a digest"}, config, made_by=1)
    with pytest.raises(TrainError, match="a run with other records"):
        _check_same(note, {"records": "another"}, config, made_by=1)
