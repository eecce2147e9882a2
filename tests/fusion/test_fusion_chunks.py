"""A batch cut into chunks of frames is the batch in one piece, checkpointed or not."""

from __future__ import annotations

import pytest
import torch

from pave.fusion import Fusion, FusionConfig

SMALL = {"side_dim": 5, "query_dim": 6, "out_dim": 7, "hidden": 32, "heads": 2}
GROUPS = {"alignment": "groups"}
OPTIONS = [
    {},
    GROUPS,
    {**GROUPS, "rope": "3d"},
    {"rope": "3d"},
    {**GROUPS, "learnable_query": (4, 9)},
]


def trained(**options):
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(**{**SMALL, **options})).double()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return fusion


def batch():
    """Long, short (stretched under groups), one step, no channel; frames of 9 and of 4 tokens."""
    random = torch.Generator().manual_seed(0)
    shapes = [(5, 9, 23, 1), (6, 4, 4, 4), (3, 9, 1, 1), (2, 4, 5, 1)]
    query = [torch.randn(t, s, 6, generator=random, dtype=torch.float64) for t, s, _, _ in shapes]
    side = [torch.randn(t, s, 5, generator=random, dtype=torch.float64) for _, _, t, s in shapes]
    return query, [*side[:3], None]


def run(fusion, grad=True):
    fusion.zero_grad()
    query, side = batch()
    with torch.set_grad_enabled(grad):
        residuals = fusion(query, side)
    if grad:
        sum((r * torch.arange(r.numel()).view_as(r).sin()).sum() for r in residuals).backward()
    return residuals, [None if p.grad is None else p.grad.clone() for p in fusion.parameters()]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rows", [1, 20, 40])
def test_chunks_change_neither_residuals_nor_gradients(options, rows):
    fusion = trained(**options)
    whole, gradients = run(fusion)
    fusion.chunk = rows
    for checkpointing in (False, True):
        fusion.checkpointing = checkpointing
        parts, others = run(fusion)
        torch.testing.assert_close(parts, whole)
        torch.testing.assert_close(others, gradients)
    torch.testing.assert_close(
        run(fusion, grad=False)[0], [residual.detach() for residual in whole]
    )


def test_a_chunk_is_bounded_by_the_side_tokens_too():
    fusion, seen = trained(alignment="groups"), []
    fusion.side_map.register_forward_hook(lambda module, args, out: seen.append(out.shape[:2]))
    fusion.chunk = 40
    fusion([torch.randn(8, 1, 6)], [torch.randn(83, 1, 5)])
    assert sum(frames for frames, _ in seen) == 8
    assert all(frames * length <= 44 for frames, length in seen)


def test_float32_products_agree_with_float64_and_frozen_maps_get_no_gradient():
    fusion = trained()
    exact, _ = run(fusion)
    fusion.float()
    fusion.side_map.requires_grad_(False)
    single, gradients = run(fusion)
    torch.testing.assert_close(
        single, [residual.float() for residual in exact], rtol=1e-5, atol=1e-5
    )
    assert (
        fusion.side_map.weight.grad is None
        and sum(g is not None for g in gradients) == len(gradients) - 2
    )


@pytest.mark.parametrize("steps", [3, 90])
def test_bfloat16_is_as_near_to_float32_as_its_rounding(steps):
    fusion = trained().float()
    query, side = [torch.randn(4, 9, 6)], [torch.randn(steps, 4, 5)]
    exact = fusion(query, side)[0]
    rough = fusion.bfloat16()(query, side)[0].float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
