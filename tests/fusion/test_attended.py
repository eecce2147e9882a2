"""Attention weights: against a plain softmax head by head, and against the module's own output."""

from __future__ import annotations

import pytest
import torch

from pave.fusion import Fusion, FusionConfig, attend

SMALL = {"side_dim": 5, "query_dim": 6, "out_dim": 7, "hidden": 32, "heads": 2}
OPTIONS = [
    {},
    {"alignment": "groups"},
    {"alignment": "groups", "tie_kv": True, "memory": 12, "rope": "3d"},
    {"rope": "3d", "layers": 1},
    {"learnable_query": (3, 4), "alignment": "groups"},
]


def made(**options):
    """A fusion whose scores differ, and a clip of 3 frames and 8 uneven steps of 4 tokens."""
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(**{**SMALL, **options})).double().eval()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    query = torch.randn(3, 4, 6, dtype=torch.float64)
    side = torch.randn(8, 4, 5, dtype=torch.float64)
    moments = torch.tensor([0.1, 0.2, 0.3, 0.9, 1.1, 1.9, 2.5, 2.6])
    return fusion, query, side, torch.tensor([0.0, 1.0, 2.0]), moments


@torch.no_grad()
def test_weights_are_a_softmax_over_the_steps_of_a_frame() -> None:
    """One block without rotary positions, written out head by head."""
    fusion, query, side, times, moments = made(rope=None, layers=1)
    found = attend(fusion, query, side, times, moments).weights
    attention = fusion.blocks[0].attention
    width = 32 // 2
    for frame in range(3):
        # A frame's steps are those that are nearer to it than to any other frame.
        steps = [i for i, one in enumerate(moments) if int((times - one).abs().argmin()) == frame]
        x = fusion.query_map(query[frame])  # [S, hidden]
        memory = fusion.side_map(side[steps].flatten(0, 1))  # [L, hidden]
        total = torch.zeros(4, len(memory), dtype=torch.float64)
        for head in range(2):
            part = slice(head * width, (head + 1) * width)
            q, k = attention.query(x)[:, part], attention.key(memory)[:, part]
            total += torch.softmax(q @ k.T / width**0.5, 1)
        mean = total.mean(0) / 2  # over tokens of the frame and heads
        wanted = torch.zeros(8)
        wanted[steps] = mean.unflatten(0, (-1, 4)).sum(1).float()
        assert torch.allclose(found[frame], wanted, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_weights_times_values_are_what_the_module_gives(options) -> None:
    fusion, query, side, times, moments = made(**options)
    calls = []
    attention = fusion.blocks[-1].attention
    attention.register_forward_hook(lambda *words: calls.append(words))
    (residual,) = fusion([query], [side], [times], [moments])
    ((_, (x, seen), out),) = calls
    values = (attention.key if fusion.config.tie_kv else attention.value)(seen.memory)
    weights = attention.weights(x, seen)  # [F, heads, S, L]
    width = 32 // fusion.config.heads
    for head in range(fusion.config.heads):
        part = slice(head * width, (head + 1) * width)
        wanted = weights[:, head] @ values[..., part]
        assert torch.allclose(out[..., part], wanted, atol=1e-12)
    attended = attend(fusion, query, side, times, moments)
    assert torch.equal(attended.residual, residual)
    assert attended.weights.shape == (3, 8)
    assert attended.weights.sum(1).tolist() == pytest.approx([1.0] * 3)
    # In pieces of a frame it is the same.
    fusion.chunk = 1
    assert torch.allclose(attend(fusion, query, side, times, moments).weights, attended.weights)


@torch.no_grad()
def test_stretched_steps_give_their_weight_to_both_neighbours() -> None:
    """2 steps for 3 frames: the middle frame attends the mean of both."""
    fusion, query, side, *_ = made(alignment="groups")
    found = attend(fusion, query, side[:2])
    assert torch.allclose(found.weights, torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
