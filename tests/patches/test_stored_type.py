"""Weights in half precision: rounded as torch rounds, said in the folder, computed with in fp32."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny, tiny_patch
from pave.cli.info import _patch
from pave.errors import ConfigError, PatchError
from pave.model import PatchedModel
from pave.patches import LoraSpec, read_config
from pave.patches.layout import FUSION, LORA

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def _model() -> PatchedModel:
    model = PatchedModel(tiny.base())
    model.new_patch("audio", fusion={"hidden": 16}, lora=LoraSpec(rank=2), seed=0)
    tiny_patch.wake(model, "audio")
    return model


@pytest.mark.parametrize("word", ["fp16", "bf16"])
def test_a_half_is_what_torch_rounds_to_and_is_computed_with_in_fp32(
    word: str, tmp_path: Path
) -> None:
    model = _model()
    whole = model.save_patch(tmp_path / "whole")
    half = model.save_patch(tmp_path / "half", dtype=word)
    for name in (FUSION, LORA):
        wanted = load_file(whole / name)
        found = load_file(half / name)
        assert {tensor.dtype for tensor in found.values()} == {HALVES[word]}
        for key, tensor in wanted.items():
            assert torch.equal(found[key], tensor.to(HALVES[word]))
    assert (half / FUSION).stat().st_size < 0.7 * (whole / FUSION).stat().st_size
    # It is said in the description and on the card, and only there where it is so.
    assert json.loads((half / "patch.json").read_text())["dtype"] == word
    assert "dtype" not in json.loads((whole / "patch.json").read_text())
    assert f"{word}; computed in fp32" in (half / "README.md").read_text()
    assert _patch(str(half))["dtype"] == word

    loaded = PatchedModel(tiny.base())
    patch = loaded.patches[loaded.load_patch(half, name="rounded")]
    rounded = load_file(half / FUSION)
    for key, tensor in patch.fusion.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, rounded[key].float())
    # Written again it holds the same numbers, in fp32 unless asked otherwise.
    again = loaded.save_patch(tmp_path / "again")
    assert read_config(again).dtype == "fp32"
    adapter = load_file(half / LORA)
    for key, tensor in load_file(again / LORA).items():
        assert torch.equal(tensor, adapter[key].float())


def test_a_weight_that_is_too_large_for_fp16_is_refused(tmp_path: Path) -> None:
    model = _model()
    with torch.no_grad():
        next(model.patches["audio"].fusion.parameters()).flatten()[0] = 70_000.0
    with pytest.raises(
        PatchError, match="values beyond the range of fp16; save it in fp32 or bf16"
    ):
        model.save_patch(tmp_path / "half", dtype="fp16")
    assert not (tmp_path / "half").exists()
    with pytest.raises(ConfigError, match="dtype"):
        model.save_patch(tmp_path / "half", dtype="int8")


def test_a_folder_that_says_another_type_than_its_files_have_is_refused(tmp_path: Path) -> None:
    half = _model().save_patch(tmp_path / "half", dtype="fp16")
    tensors = {key: tensor.float() for key, tensor in load_file(half / FUSION).items()}
    save_file(tensors, half / FUSION)
    manifest = json.loads((half / "patch.json").read_text())
    manifest["files"][FUSION] = hashlib.sha256((half / FUSION).read_bytes()).hexdigest()
    (half / "patch.json").write_text(json.dumps(manifest))
    with pytest.raises(PatchError, match="stored in fp16, but tensor .* is torch.float32"):
        PatchedModel(tiny.base()).load_patch(half, name="rounded")
