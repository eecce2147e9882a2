"""`check_family` passes on all of pave's families and says what is wrong with a broken one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from helpers import tiny
from pave.bases import Visual
from pave.testing import check_family


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_pave_s_own_families_pass(family: str) -> None:
    check_family(family)


def _backwards(visual: Visual) -> Visual:
    """Time runs the other way."""
    assert visual.query is not None
    return replace(visual, query=visual.query.flip(0))


def _mirrored(visual: Visual) -> Visual:
    """Columns run the other way."""
    assert visual.query is not None
    layout = visual.layout
    grid = visual.query.unflatten(1, (layout.h, layout.w))
    return replace(visual, query=grid.flip(2).flatten(1, 2))


def _no_newline(visual: Visual) -> Visual:
    """The newline token is taken for the first spatial one."""
    return replace(visual, layout=replace(visual.layout, trail=0, lead=1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_backwards, "steps whose query moved"),
        (_mirrored, "quarter .* whose query moved most"),
        (_no_newline, "layout of a clip in a batch, and alone"),
    ],
)
def test_a_broken_family_is_told_why(
    spoil: Callable[[Visual], Visual], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.base("llava_onevision")
    split = base.family.split

    def broken(output: Any, args: Any, frames: Any, want_query: bool) -> list[Visual]:
        visuals = split(output, args, frames, want_query)
        return [spoil(visual) if visual.query is not None else visual for visual in visuals]

    monkeypatch.setattr(base.family, "split", broken)
    with pytest.raises(AssertionError, match=message):
        check_family(base)


def test_placeholders_that_do_not_fit_are_told() -> None:
    base = tiny.base("internvl")
    base.config.image_seq_length = 3
    with pytest.raises(AssertionError, match="placeholders in the prompt.*: 12 instead of 16"):
        check_family(base)
