"""Two arms' scores joined question by question, and the order of a table's rows."""

from __future__ import annotations

import pytest

from pave.data import Record, Turn
from pave.errors import RecordError
from pave.tasks.compare import compare
from pave.tasks.score import label_order
from pave.tasks.task import record_labels


def test_compare_joins_by_question_and_splits_by_label() -> None:
    a = {
        "q1": {"em": 1.0, "cider": 3.0},
        "q2": {"em": 1.0, "cider": 1.0},
        "only": {"em": 0.0, "cider": 0.0},
    }
    b = {"q2": {"em": 0.0, "cider": 2.0}, "q1": {"em": 1.0, "cider": 1.0}}
    rows = compare(a, b, {"q1": "v1", "q2": "v2"}, {"q1": ["Audio"], "q2": ["all"]})
    table = {(row.label, row.score): row for row in rows}
    assert set(table) == {
        (label, score) for label in ("all", "Audio", "all (label)") for score in ("em", "cider")
    }
    assert (table["all", "cider"].difference, table["all", "cider"].n) == (0.5, 2)
    assert table["all", "em"].ci95 is None, "two videos hold no interval"
    with pytest.raises(ValueError, match="no question in common"):
        compare(a, {"x": {"em": 1.0}}, {}, {})
    with pytest.raises(ValueError, match="no score in common"):
        compare(a, {"q1": {"bleu": 1.0}}, {}, {})


def test_labels_stand_widest_first_or_each_above_its_parts() -> None:
    labels = [("v", "f1"), ("other",), ("a", "f2"), ("v", "f2"), ("a", "f3")]
    assert label_order(labels) == ["v", "other", "a", "f1", "f2", "f3"]
    assert label_order(labels, nested=True) == ["v", "f1", "f2", "a", "f3", "other"]
    assert label_order([]) == []


@pytest.mark.parametrize("labels", [0.5, "Audio", None, {"Audio": 1}])
def test_labels_that_are_no_list_are_refused_by_the_name_of_the_record(labels: object) -> None:
    turns = [Turn(question="?", answer="!")]
    record = Record(id="r7", video="a.mp4", turns=turns, meta={"labels": labels})
    with pytest.raises(RecordError, match="'r7': meta.labels is .* it must be a list"):
        record_labels(record)
