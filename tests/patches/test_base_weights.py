"""A patch knows the weights that it was trained on, not only their shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import tiny, tiny_patch, toy
from pave.bases import Base
from pave.bases.digest import known_by
from pave.cli import main
from pave.data import write_records
from pave.errors import PatchError
from pave.evaluate import EvalConfig, evaluate
from pave.model import PatchedModel

OTHERS = {
    "all": lambda base: None,
    "language": lambda base: base.inner.language_model.layers[1].mlp.up_proj.weight[0].mul_(1.1),
    "tower": lambda base: base.inner.multi_modal_projector.linear_1.weight.mul_(1.1),
}


def other(part: str) -> Base:
    """A base of the same shapes with other weights somewhere."""
    base = tiny.base(seed=7 if part == "all" else 0)
    with torch.no_grad():
        OTHERS[part](base)
    return base


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A patch of the tiny base."""
    model = PatchedModel(tiny.base())
    tiny_patch.add(model)
    return model.save_patch(tmp_path / "p")


@pytest.mark.parametrize("part", OTHERS)
def test_other_weights_of_the_same_shapes_are_told_of_or_refused(
    saved: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"all": "the language and tower of"}.get(part, f"the {part} of")
    with pytest.raises(PatchError, match=f"same shapes but with other weights: {words} tiny"):
        PatchedModel(other(part)).load_patch(saved, same_weights=True)
    assert not caplog.records
    PatchedModel(other(part)).load_patch(saved)
    assert words in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_same_weights_are_known_in_every_type(dtype: torch.dtype) -> None:
    """Published weights are in 16 bits; in which type they are loaded changes nothing."""
    base = tiny.base()
    base.model.to(torch.bfloat16)
    digests = known_by(base)
    base.model.to(torch.float32)
    base.model.to(dtype)
    assert known_by(base) == digests
    assert set(digests) == {"language", "tower"}


def test_the_same_base_is_loaded_without_a_word(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also beside another patch, whose LoRA lies in the same layers."""
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, "views")
    model.load_patch(saved, name="one", same_weights=True)
    assert not caplog.records


def test_older_patches_and_bases_that_cannot_tell_are_taken(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = saved / "patch.json"
    content = json.loads(manifest.read_text())
    assert set(content["base"].pop("weights")) == {"language", "tower"}
    manifest.write_text(json.dumps(content))
    model = PatchedModel(other("all"))
    model.load_patch(saved, name="old", same_weights=True)
    model.save_patch(tmp_path / "again")  # what is not known is not written
    assert "weights" not in json.loads((tmp_path / "again" / "patch.json").read_text())["base"]
    base = tiny.base()
    base.model.to("meta")
    assert known_by(base) == {}
    assert not caplog.records


def test_ask_and_eval_refuse_them_by_a_flag(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pave.bases.load_base", lambda *_, **__: other("language"))
    film = str(toy.frames(tmp_path / "film"))
    words = ["ask", film, "What?", "--patch", str(saved), "--max-new-tokens", "1"]
    assert main([*words, "--same-weights"]) == 2
    assert "same shapes but with other weights" in capsys.readouterr().err
    assert main(words) == 0
    rows = toy.records(tmp_path / "rows", clips=1, questions=1)
    settings = {
        "records": write_records(tmp_path / "rows.jsonl", rows),
        "out": tmp_path / "out",
        "arms": {"patch": [saved]},
    }
    with pytest.raises(PatchError, match="same shapes but with other weights"):
        evaluate(EvalConfig(**settings, same_weights=True), base=other("language"))
