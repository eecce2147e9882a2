"""The output norm of a fusion writes over its input only where nobody can notice."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from pave import Fusion, FusionConfig, cpu
from pave.cpu.norm import ROWS, in_place

WIDTH = 6


def made() -> nn.LayerNorm:
    norm = nn.LayerNorm(WIDTH)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_it_is_the_norm_to_the_bit_and_takes_no_further_memory(dtype: torch.dtype) -> None:
    norm = made().to(dtype)
    x = torch.randn(3, ROWS, WIDTH).to(dtype)  # three pieces
    expected = nn.functional.layer_norm(x, (WIDTH,), norm.weight, norm.bias)
    in_place(norm)
    out = norm(x)
    assert torch.equal(out, expected)
    assert out.data_ptr() == x.data_ptr()


def test_with_gradients_its_input_stays() -> None:
    norm = made()
    x = torch.randn(4, WIDTH)
    before = x.clone()
    in_place(norm)
    norm(x).sum().backward()
    assert torch.equal(x, before)
    assert norm.weight.grad is not None


@torch.no_grad()
def test_rows_that_do_not_lie_one_after_the_other_are_left_alone() -> None:
    norm = made()
    x = torch.randn(WIDTH, 4).T
    before = x.clone()
    expected = norm(x)
    in_place(norm)
    assert torch.equal(norm(x), expected)
    assert torch.equal(x, before)


def test_a_pickled_one_is_plain_again() -> None:
    norm = made()
    x = torch.randn(4, WIDTH)
    expected = norm(x)
    in_place(norm)
    assert torch.equal(pickle.loads(pickle.dumps(norm))(x), expected)


@pytest.mark.parametrize("maps", [0, 2])
@torch.no_grad()
def test_a_fusion_leaves_its_inputs_and_answers_the_same_twice(maps: int) -> None:
    config = FusionConfig(side_dim=5, query_dim=16, out_dim=16, hidden=16, output_layers=maps)
    fusion = Fusion(config)
    nn.init.normal_(fusion.norm.weight)
    query = torch.randn(3, 4, 16)
    side = torch.randn(8, 1, 5)
    given = query.clone()
    plain = fusion([query], [side])[0]
    cpu.speed_up(fusion)
    for _ in range(2):
        fast = fusion([query], [side])[0]
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(query, given)
