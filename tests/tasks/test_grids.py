"""Pairs of clips and their four cells."""

from __future__ import annotations

import pytest

from pave.data import Record, Turn
from pave.errors import RecordError
from pave.metrics import exact_match
from pave.tasks.grids import CELLS, pair_up


def _record(clip: str, question: str, answer: str, **changes: object) -> Record:
    given = {
        "id": f"{clip}-{question}",
        "video": f"/{clip}.mp4",
        "channels": {"audio": f"/{clip}.wav", "views": f"/{clip}-2.mp4"},
        "turns": [Turn(question=question, answer=answer)],
        "meta": {"channel": "audio"},
    }
    return Record.model_validate({**given, **changes})


def test_the_four_cells_of_a_pair() -> None:
    """Worked out by hand: the picture's record, the other's channel, the target's answer."""
    records = [_record("a", "What sounds?", "dog"), _record("b", "What sounds?", "cat")]
    (pair,) = pair_up(records, "audio", exact_match).pairs
    one, two = pair.records
    assert {one.id, two.id} == {"a-What sounds?", "b-What sounds?"}
    cells = {cell: pair.cell(*cell) for cell in CELLS}
    assert len({cell.id for cell in cells.values()}) == 4
    for (picture, side), cell in cells.items():
        assert cell.video == pair.records[picture].video
        assert cell.channels["audio"] == pair.records[side].channels["audio"]
        assert cell.channels["views"] == pair.records[picture].channels["views"]
        assert cell.answers == [pair.records[side].turns[0].answer]  # a question for the ear
        assert cell.turns[0].answer is None


def test_a_visual_question_is_answered_from_the_picture() -> None:
    records = [
        _record(clip, "What colour?", colour, meta={"channel": "video"})
        for clip, colour in (("a", "red"), ("b", "blue"))
    ]
    (pair,) = pair_up(records, "audio", exact_match).pairs
    conflict = pair.cell(0, 1)
    assert conflict.answers == [pair.records[0].turns[0].answer]


def test_a_clip_meets_the_one_with_most_to_share_and_once() -> None:
    """Of three clips, two have two questions in common with different answers."""
    records = [
        *(_record("a", question, "1") for question in ("Q1", "Q2", "Q3")),
        _record("b", "Q1", "2"),
        *(_record("c", question, "3") for question in ("Q1", "Q2")),
        _record("c", "Q3", "1."),  # the same answer, as answers are compared
    ]
    for seed in range(6):
        grids = pair_up(records, "audio", exact_match, seed=seed)
        met = {pair.clips for pair in grids.pairs}
        assert len(met) == 1  # three clips make one pair
        left = {name for names in grids.left_out.values() for name in names}
        paired = {record.id for pair in grids.pairs for record in pair.records}
        assert left | paired == {record.id for record in records} and not left & paired
        if not {"b-Q1"} & paired:  # a and c have met
            assert len(grids.pairs) == 2
    first = pair_up(records, "audio", exact_match, seed=1)
    assert first == pair_up(records, "audio", exact_match, seed=1)


def test_what_cannot_be_paired_is_named() -> None:
    records = [
        _record("a", "Q", "1"),
        _record("b", "Q", "2"),
        _record("c", "Q", "3", channels={}),
        _record("d", "Q", "4", meta={"channel": "views"}),
        _record("a", "Q", "5", id="again"),
        _record("e", "Another", "6"),
    ]
    grids = pair_up(records, "audio", exact_match)
    found = {name: why for why, names in grids.left_out.items() for name in names}
    assert found["c-Q"] == "has no audio channel"
    assert found["d-Q"] == "asks for another channel (views)"
    assert found["again"] == "an earlier clip is asked the same"
    assert "no clip is left that is asked the same" in found["e-Another"]
    assert len(found) == 4


def test_no_pair_at_all_is_an_error() -> None:
    with pytest.raises(RecordError, match="no two clips .* audio channel.*asks for another"):
        pair_up(
            [_record("a", "Q", "1"), _record("b", "Q", "1", meta={"channel": "views"})],
            "audio",
            exact_match,
        )


def test_dialogues_are_compared_as_a_whole() -> None:
    """The same last question after another talk is another question."""
    talk = [Turn(question="Who?", answer="a man"), Turn(question="Why?", answer="x")]
    other = [Turn(question="Who?", answer="a girl"), Turn(question="Why?", answer="y")]
    records = [
        _record("a", "", "", id="a", turns=talk),
        _record("b", "", "", id="b", turns=other),
        _record("c", "", "", id="c", turns=[talk[0], other[1]]),
    ]
    (pair,) = pair_up(records, "audio", exact_match).pairs
    assert {record.id for record in pair.records} == {"a", "c"}
    assert pair.cell(0, 1).turns[0] == talk[0]


def test_work_grows_with_the_records() -> None:
    """Comparisons of answers for n clips with one question: at most 32 x 2 x n, not n squared."""
    calls = 0

    def judge(prediction: str, answers: object) -> bool:
        nonlocal calls
        calls += 1
        return exact_match(prediction, answers)

    count = 2_000
    pair_up([_record(str(n), "Q", str(n)) for n in range(count)], "audio", judge)
    assert calls <= 2 * 32 * count
