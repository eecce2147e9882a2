"""Views give what lists of the same items give."""

from __future__ import annotations

import numpy as np
import pytest

from pave.data import Record, Records
from pave.data.views import Clips, Joined, Picked, View, clip_bounds

LETTERS = list("abcdefg")
VIEWS = {
    "picked": Picked("xgfedcbax", np.arange(7, 0, -1)),
    "picked from a range": Picked("abcdefgh", range(7)),
    "joined": Joined("abc", "defg"),
    "joined to nothing": Joined((), LETTERS),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
class TestAsAList:
    def test_items(self, view: View[str]) -> None:
        assert list(view) == LETTERS
        assert [view[-7], view[np.int64(6)], view[-1]] == ["a", "g", "g"]

    @pytest.mark.parametrize("number", [7, -8])
    def test_number_behind_the_last(self, view: View[str], number: int) -> None:
        with pytest.raises(IndexError):
            view[number]

    def test_slices_are_views_too(self, view: View[str]) -> None:
        part = view[5:1:-2]
        assert isinstance(part, Picked)
        assert list(part) == LETTERS[5:1:-2] == ["f", "d"]
        assert list(part[1:]) == ["d"]
        assert list(view[9:]) == []


def test_clips_in_the_order_of_their_first_records() -> None:
    records = Records()
    for number, clip in enumerate(["b", "a", "b", "c", "a"]):
        record = Record(id=str(number), video=f"{clip}.mp4", turns=[{"question": "Who?"}])
        records.add(record, f"r.jsonl:{number + 1}")
    records.close()
    found = [[record.id for record in clip] for clip in records.clips()]
    assert found == [["0", "2"], ["1", "4"], ["3"]]
    last = records.clips()[1:]
    assert [clip[-1].id for clip in last] == ["4", "3"]


def test_no_records_have_no_clips() -> None:
    order, bounds = clip_bounds(np.zeros((0, 2), dtype=np.uint64))
    assert len(Clips([], order, bounds)) == 0
