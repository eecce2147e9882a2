"""A fusion is sped up by what pays on the processor, and computes the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pave import Fusion, FusionConfig, cpu, hf_compat
from pave.cpu.attention import attend
from pave.fusion.module import Seen

CONFIG = FusionConfig(side_dim=5, query_dim=6, out_dim=7, hidden=16)
QUERY, SIDE = [torch.randn(3, 4, 6)], [torch.randn(8, 1, 5)]  # groups of 3, 3 and 2 steps: a mask


def made() -> Fusion:
    torch.manual_seed(0)
    fusion = Fusion(CONFIG)
    nn.init.normal_(fusion.norm.weight)
    return fusion


@pytest.mark.parametrize(
    ("float32_pays", "bfloat16_pays", "changed"),
    [
        (False, False, 1),
        (True, False, 15),
        (False, True, 1),
        (True, True, 15),
    ],  # 1: the output norm
)
def test_a_fusion_is_sped_up_only_where_that_pays(
    float32_pays: bool, bfloat16_pays: bool, changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_compat, "mkl_leaves_avx512_alone", lambda: float32_pays)
    monkeypatch.setattr(hf_compat, "has_bf16_units", lambda: bfloat16_pays)
    fusion = made()
    plain = fusion(QUERY, SIDE)[0]
    cpu.speed_up(fusion)
    assert sum("forward" in vars(layer) for layer in fusion.modules()) == changed
    fast = fusion(QUERY, SIDE)[0]
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    fast.sum().backward()
    assert all(p.grad is not None for p in fusion.parameters())


@pytest.mark.parametrize("checkpointing", [True, False])
def test_a_fusion_in_bfloat16_trains_as_before(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_compat, "has_bf16_units", lambda: True)
    gradients = []
    for fast in (False, True):
        fusion = made().bfloat16()
        fusion.checkpointing = checkpointing
        if fast:
            cpu.speed_up(fusion)
        fusion(QUERY, SIDE)[0].float().square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten().float() for p in fusion.parameters()]))
    plain, sped = gradients
    assert F.cosine_similarity(plain, sped, dim=0) > 0.999
    torch.testing.assert_close(sped.norm(), plain.norm(), rtol=2e-2, atol=0)


@pytest.mark.parametrize("masked", [True, False])
def test_plain_products_are_attention(masked: bool) -> None:
    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 4, 8), torch.randn(2, 3, 4, 8)
    mask = torch.tensor([[True, True, False, True], [True] * 4])[:, None, None]
    mask = mask if masked else None
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, mask), expected)


@torch.no_grad()
def test_without_gradients_attention_stays_with_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_compat, "has_bf16_units", lambda: True)
    fusion = made().bfloat16()
    cpu.speed_up(fusion)
    layer, x = fusion.blocks[0].attention, torch.randn(2, 4, 16).bfloat16()
    assert "forward" in vars(layer)
    seen = Seen(x, None, x, x)
    assert torch.equal(layer(x, seen), type(layer).forward(layer, x, seen))
