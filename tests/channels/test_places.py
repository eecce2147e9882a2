"""A code of places: what it says, how loud it is, and that an encoder without it is as ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from channels.test_views import NumberTower
from helpers.clips import mux, numbered
from pave.channels import make_encoder
from pave.channels.places import CODE, place_code, with_places


@given(side=st.integers(1, 12))
def test_every_region_has_its_own_code(side: int) -> None:
    code = place_code(side)
    assert code.shape == (side * side, CODE)
    between = torch.cdist(code, code)  # [S, S]
    others = between[~torch.eye(side * side, dtype=torch.bool)]
    assert bool((others > 0).all())


def test_left_and_right_differ_in_signs() -> None:
    """By arithmetic: the middles of three columns are at -2/3, 0, and 2/3."""
    grid = place_code(3).unflatten(0, (3, 3))  # rows, columns
    left, middle, right = grid[0]
    assert left[1].item() == pytest.approx(-2 / 3)
    assert middle[1].item() == 0
    # Row and column; two sines of the row, two of the column; then the cosines.
    sign = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, 1, 1, 1])
    assert torch.allclose(left * sign, right)


@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_as_loud_as_a_third_of_a_token(size: float) -> None:
    values = torch.randn(5, 9, 64) * size
    tokens = with_places(values, 3)
    assert torch.equal(tokens[..., :64], values)
    code = tokens[..., 64:]
    token_size = values.square().sum(-1).mean().sqrt()
    code_size = code.square().sum(-1).mean().sqrt()
    assert float(code_size / token_size) == pytest.approx(1 / 3, rel=1e-4)


def test_the_frames_encoder(tmp_path: Path) -> None:
    """The same tokens with ten features more; without places, nothing says that they exist."""
    video = mux(tmp_path / "a.mp4", numbered(10))
    tower = NumberTower()
    plain = make_encoder("frames", "tower", {"fps": 5.0}, tower=tower)
    placed = make_encoder("frames", "tower", {"fps": 5.0, "place": True}, tower=tower)
    assert (plain.dim, placed.dim) == (3, 13)
    without = plain.encode(video)
    tokens = placed.encode(video)
    assert without is not None and tokens is not None
    assert torch.equal(tokens.values[..., :3], without.values)
    assert torch.equal(tokens.times, without.times)
    code = tokens.values[..., 3:]
    assert torch.equal(code, code[:1].expand_as(code))  # the same at all times
    # Tokens in the caches of older versions keep their keys.
    assert "place" not in plain.settings and "place" not in plain.identity
    assert placed.settings["place"] is True and placed.identity["place"] is True
