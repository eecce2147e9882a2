"""FlexAttention for packed sequences: asked first, used where it works, given back afterwards."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.attention.flex_attention import BlockMask

from helpers import tiny, toy
from pave.bases.masks import attention_of
from pave.data.packing import visible, visible_blocks
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train import attention, train
from pave.train.attention import packed_attention, why_not
from pave.train.collate import Collator


def test_the_rule_is_the_mask():
    numbers = torch.tensor([[0, 0, 1, 1, 2, 2, 2, -1], [0, 1, 2, 3, -1, -1, -1, -1]])
    blocks, mask = visible_blocks(numbers), visible(numbers)
    rows, queries, keys = torch.meshgrid(
        torch.arange(2), torch.arange(8), torch.arange(8), indexing="ij"
    )
    assert torch.equal(blocks.mask_mod(rows, torch.zeros_like(rows), queries, keys), mask[:, 0])
    assert blocks.shape == (2, 1, 8, 8)


def test_blocks_in_which_nobody_sees_anybody_are_skipped():
    numbers = torch.tensor([0] * 128 + [1] * 512 + [2] * 512)[None]
    assert (
        visible_blocks(numbers).sparsity() > 60
    )  # a causal mask of nine blocks alone: 44 per cent


def test_a_cpu_says_why_not_and_keeps_what_it_has(monkeypatch, caplog):
    base = tiny.base()
    before = attention_of(base)
    assert "backward" in why_not(base, autocast=False) and attention_of(base) == before
    monkeypatch.setattr(attention, "DEVICES", ("cpu",))
    with caplog.at_level(logging.INFO), packed_attention(base, packed=True, autocast=False):
        assert attention_of(base) == before
    assert f"train with {before} and a mask" in caplog.text and "backward" in caplog.text


@pytest.mark.parametrize("family", tiny.SHARING)
def test_families_run_it_and_get_their_own_back(family, flex_on_cpu):
    base = tiny.base(family)
    before = attention_of(base)
    with packed_attention(base, packed=True, autocast=False):
        assert attention_of(base) == "flex_attention"
        Collator(base, packed=True)
    assert attention_of(base) == before
    with packed_attention(base, packed=False, autocast=False):
        assert attention_of(base) == before
    with pytest.raises(KeyError), packed_attention(base, packed=True, autocast=False):
        raise KeyError
    assert attention_of(base) == before


def test_other_numbers_are_not_taken(monkeypatch, flex_on_cpu):
    base = tiny.base()
    monkeypatch.setattr(attention, "visible_blocks", lambda numbers: visible_blocks(numbers * 0))
    assert "away from sdpa" in why_not(base, autocast=False)


def test_attention_dropout_is_not_taken(flex_on_cpu):
    base = tiny.base()
    base.config.get_text_config().attention_dropout = 0.1
    assert "dropout" in why_not(base, autocast=False)


def test_asking_uses_up_no_random_numbers(flex_on_cpu):
    patched = PatchedModel(tiny.base())
    patched.new_patch(None, lora=LoraSpec(rank=2, dropout=0.5))
    patched.train()
    state = torch.get_rng_state()
    assert why_not(patched.base, autocast=False) == ""
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_with_it_is_a_run_without_it(tmp_path, monkeypatch, flex_on_cpu):
    toy.records(tmp_path, clips=4, questions=3)
    more = {
        "steps": 4,
        "batch_clips": 2,
        "questions_per_video": 3,
        "lr_lora": 0.01,
        "lr_fusion": 0.01,
    }
    masks = []
    call = Collator.__call__

    def spied(self, samples):
        batch = call(self, samples)
        masks.append(type(batch.inputs["attention_mask"]))
        return batch

    monkeypatch.setattr(Collator, "__call__", spied)
    flexed = train(toy.config(tmp_path, "flexed", **more), base=tiny.base(), progress=False)
    monkeypatch.setattr(attention, "DEVICES", ())
    masked = train(toy.config(tmp_path, "masked", **more), base=tiny.base(), progress=False)
    assert masks == [BlockMask] * 4 + [torch.Tensor] * 4
    assert flexed.final_loss == pytest.approx(masked.final_loss, rel=1e-5)
    ours, theirs = (load_file(result.patch / "fusion.safetensors") for result in (flexed, masked))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-4)
