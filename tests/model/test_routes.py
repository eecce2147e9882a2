"""Which rows a patch works on: counting clips, masks, frames of image-like families."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import tiny_patch
from pave.bases.visual import Layout, Visual
from pave.errors import ChannelError
from pave.model.routes import Routes, frames_of_clips, routes_of, rows_of_clips

VIDEO = 9
HAS = {"audio": tiny_patch.tokens(1)}


def ids(*counts: int) -> torch.Tensor:
    """A batch whose rows hold so many placeholders."""
    longest = max(counts) + 1
    return torch.tensor([[1] * (longest - count) + [VIDEO] * count for count in counts])


def clip(size: int) -> Visual:
    """A clip of `size` tokens."""
    return Visual(torch.zeros(size, 1), Layout(1, 1, size))


@given(st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=4))
def test_clips_are_found_in_their_rows_by_size(rows: list[list[int]]) -> None:
    sizes = [size for row in rows for size in row]
    found = rows_of_clips(
        ids(*(sum(row) for row in rows)), VIDEO, len(sizes), [clip(size) for size in sizes]
    )
    assert found == [number for number, row in enumerate(rows) for _ in row]


def test_one_clip_a_row_needs_no_sizes_and_unequal_sizes_are_not_guessed() -> None:
    assert rows_of_clips(ids(3, 0, 2), VIDEO, 2, None) == [0, 2]
    assert rows_of_clips(ids(4, 2), VIDEO, 3, None) is None
    assert rows_of_clips(ids(4, 2), VIDEO, 3, [clip(2), clip(2), clip(3)]) is None
    assert rows_of_clips(None, VIDEO, 1, None) is None
    assert rows_of_clips(ids(0, 0), VIDEO, 2, None) == [0, 1]  # a later turn on a cache


@pytest.mark.parametrize(
    ("side", "rows", "expected"),
    [
        (None, None, Routes(["lora"], {})),
        ([{}, {}], [0, 1], Routes(["lora"], {})),
        ([HAS, HAS], [0, 1], Routes(["a", "lora"], {})),
        ([HAS, {}], [0, 1], Routes(["a", "lora"], {"a": [True, False]})),
        ([{}, HAS], [0, 0], Routes(["a", "lora"], {"a": [True, False]})),
        ([HAS, HAS], [0, 0], Routes(["a", "lora"], {"a": [True, False]})),
        ([HAS, HAS], None, Routes(["a", "lora"], {})),
    ],
)
def test_a_patch_works_where_its_channel_is(side: Any, rows: Any, expected: Routes) -> None:
    patches = {"a": tiny_patch.lora_of("a", "audio"), "lora": tiny_patch.lora_of("lora", None)}
    assert routes_of(patches, side, rows, 2, {}) == expected


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ChannelError, match="rows hold several clips"):
        routes_of({"a": tiny_patch.lora_of("a", "audio")}, [HAS, {}], None, 2, {})


def test_frames_follow_from_times_or_from_the_rows() -> None:
    inputs = {"input_ids": ids(8, 4), "pixel_values": torch.zeros(6, 3, 2, 2)}
    assert frames_of_clips(inputs, "pixel_values", VIDEO, 2, None) == [4, 2]
    assert frames_of_clips(inputs, "pixel_values", VIDEO, 2, [torch.zeros(1), torch.zeros(5)]) == [
        1,
        5,
    ]
    assert frames_of_clips(inputs, "pixel_values", VIDEO, 3, None) is None
    odd = {"input_ids": ids(7, 5), "pixel_values": torch.zeros(6, 3, 2, 2)}
    assert frames_of_clips(odd, "pixel_values", VIDEO, 2, None) is None  # frames differ in size
    assert frames_of_clips({}, "pixel_values", VIDEO, 1, None) is None
