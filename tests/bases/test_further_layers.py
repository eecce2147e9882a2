"""A base whose config.json asks for fewer layers than its files hold is refused, never shortened.

What a folder may hold besides is no reason: names of published files, of layers that predict
further tokens, of buffers of old versions, and of parts that are not wanted.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import paper, saved, tiny
from pave import hf_compat
from pave.bases import load_base
from pave.errors import BaseError

ROOT = Path(__file__).resolve().parents[2]
HUB = Path(os.environ.get("PAVE_HUB_FILES") or ROOT.parent / "shared" / "hub")
# Of published folders: nextn layers of GLM-4.5V, Qwen3.5's, old buffers, heads and talkers.
HARMLESS = [
    "model.language_model.layers.{layers}.eh_proj.weight",
    "model.language_model.layers.{layers}.enorm.weight",
    "model.language_model.layers.{layers}.hnorm.weight",
    "model.language_model.layers.{layers}.input_layernorm.weight",
    "model.language_model.layers.{layers}.mlp.experts.7.up_proj.weight",
    "model.language_model.layers.{layers}.shared_head.head.weight",
    "mtp.layers.0.input_layernorm.weight",
    "model.mtp.layers.0.mlp.up_proj.weight",
    "model.language_model.layers.0.self_attn.rotary_emb.inv_freq",
    "model.vision_tower.vision_model.embeddings.position_ids",
    "vision_tower.vision_model.head.layernorm.weight",
    "talker.model.layers.27.mlp.up_proj.weight",
    "token2wav.code2wav_dit_model.transformer_blocks.21.ff.ff.0.weight",
    "lm_head.weight",
]


def cut(folder: Path, part: str, count: str) -> None:
    """Let config.json ask for one layer less of a part."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    section = config[part]
    section[count] -= 1
    # Where layers are of several kinds there is a list of them.
    if len(section.get("layer_types") or []) > section[count]:
        del section["layer_types"][-1]
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name != "gemma4"])
def test_of_the_language_model(tmp_path: Path, family: str) -> None:
    """With or without its tower; Gemma 4 alone refuses such a configuration itself."""
    saved.base(family, tmp_path)
    cut(tmp_path, "text_config", "num_hidden_layers")
    for tower in (True, False):
        with pytest.raises(
            BaseError, match=r"more layers than config.json asks for, first \S+\.\d\."
        ):
            load_base(tmp_path, tower=tower)


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name != "molmo2"])
def test_of_the_tower(tmp_path: Path, family: str) -> None:
    """At once, or when the tower is loaded at last; Molmo2 refuses such a configuration."""
    saved.base(family, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["vision_config"]
    count = next((key for key in ("num_hidden_layers", "depth") if key in config), None)
    if count is None:
        pytest.skip("its tower has no layers")
    cut(tmp_path, "vision_config", count)
    said = "more layers than config.json asks for, first"
    with pytest.raises(BaseError, match=said):
        load_base(tmp_path)
    later = load_base(tmp_path, tower=False)
    with pytest.raises(BaseError, match=said):
        later.load_tower()


def test_in_llavas_own_naming(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(paper.BASE, tmp_path / "base"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["num_hidden_layers"] -= 1
    path.write_text(json.dumps(config))
    with pytest.raises(BaseError, match="more layers than config.json asks for, first model.l"):
        load_base(folder)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "glm4v_moe"])
def test_what_else_files_hold(tmp_path: Path, family: str) -> None:
    """None of it keeps a base from being loaded, or changes it."""
    saved.base(family, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    before = load_base(tmp_path)
    layers = before.config.get_text_config().num_hidden_layers
    for name in HARMLESS:
        weights.setdefault(name.format(layers=layers), torch.ones(4, 4))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for tower in (True, False):
        after = load_base(tmp_path, tower=tower)
        after.load_tower()
        inputs = tiny.inputs(before)
        with torch.no_grad():
            assert torch.equal(before.model(**inputs).logits, after.model(**inputs).logits)


def expanded(names: list[str], layers: int) -> list[str]:
    """Published names, where N stands for the number of a layer."""
    return [name.replace(".N.", f".{number}.") for name in names for number in range(layers)]


@pytest.mark.skipif(not HUB.is_dir(), reason="no folder of published names; see PAVE_HUB_FILES")
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_names_of_published_files(family: str) -> None:
    """None of them is a further layer of a model with as many; one more always is."""
    names: list[str] = json.loads((HUB / family / "weight_names.json").read_text())
    model: Any = tiny.base(family).model
    layers = model.config.get_text_config().num_hidden_layers
    report = {"unexpected_keys": expanded(names, layers)}
    assert hf_compat.further_layers(model, report) == []
    # After conversion to the names of today, as transformers reports them.
    more = f"model.language_model.layers.{layers}.mlp.up_proj.weight"
    report["unexpected_keys"].append(more)
    assert hf_compat.further_layers(model, report) == [more]
