"""Bases in LLaVA's own naming: whole, in shards, with a tied head; others are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import paper
from pave.bases import load_base
from pave.bases.published import published_size
from pave.errors import BaseError


@pytest.fixture
def folder(tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(paper.BASE, tmp_path / "base"))


def change(folder: Path, **settings) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_shards_and_a_tied_head(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": names[:20],
        "model-00002-of-00002.safetensors": names[20:],
    }
    for file, keys in parts.items():
        save_file({key: tensors[key] for key in keys}, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {key: file for file, keys in parts.items() for key in keys},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    change(folder, tie_word_embeddings=True)
    model = load_base(folder, dtype="float32").model
    assert torch.equal(model.lm_head.weight, tensors["model.embed_tokens.weight"][:275])
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert torch.equal(model.model.image_newline, tensors["model.image_newline"])


def test_shapes_alone_say_the_same(folder):
    meta, real = load_base(folder, weights=False), load_base(folder)
    assert (
        meta.device.type == "meta"
        and meta.fingerprint() == real.fingerprint()
        and meta.settings == real.settings
    )
    assert real.settings.size == (384, 384) and real.settings.mean == (0.5, 0.5, 0.5)


def test_heads_may_be_said(folder):
    change(folder, vision_config={"num_attention_heads": 4})
    assert load_base(folder, weights=False).config.vision_config.num_attention_heads == 4


def test_what_is_no_such_base(folder):
    tensors = load_file(folder / "model.safetensors")

    def refused(words: str, kept: dict[str, torch.Tensor]) -> None:
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(BaseError, match=words):
            load_base(folder)

    refused(
        "holds no model.image_newline",
        {k: v for k, v in tensors.items() if k != "model.image_newline"},
    )
    refused(
        "holds no model.vision_tower", {k: v for k, v in tensors.items() if "vision_tower" not in k}
    )
    refused(
        "missing or with another shape",
        {k: v for k, v in tensors.items() if k != "model.layers.1.mlp.up_proj.weight"},
    )
    refused(
        "275 tokens but the model embeds 200",
        {**tensors, "model.embed_tokens.weight": torch.zeros(200, 32)},
    )
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(BaseError, match="cannot be read"):
        load_base(folder)


def test_names_of_published_bases():
    assert published_size("lmms-lab/llava-onevision-qwen2-0.5b-ov") == "0.5b"
    assert published_size("7B") == "7b"
    assert published_size("llava-hf/llava-onevision-qwen2-72b-ov-hf") is None
