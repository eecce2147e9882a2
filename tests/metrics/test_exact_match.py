"""Exact match: what counts as the same answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.metrics import exact_match, normalise


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("Violin.", "violin"),
        (" the  Violin!\n", "violin"),
        ("left-hand", "left hand"),
        ("It’s", "it's"),
        ("ﬁve", "five"),
        ("2", "2"),
    ],
)
def test_same_answer_in_another_spelling(prediction: str, answer: str) -> None:
    assert exact_match(prediction, [answer])


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [("violin and cello", "violin"), ("two", "2"), ("", ""), ("?!", "..."), ("no", "not")],
)
def test_different_answers(prediction: str, answer: str) -> None:
    assert not exact_match(prediction, [answer])


def test_any_accepted_answer_counts_and_none_accepts_nothing() -> None:
    assert exact_match("cello", ["violin", "Cello"])
    assert not exact_match("cello", [])


def test_option_letter_survives_the_removal_of_articles() -> None:
    assert exact_match("A.", ["a"])
    assert not exact_match("A.", ["the"])


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(min_size=1), st.sampled_from(["{}", "{}.", " {}", "{}\n", "{} !"]))
def test_padding_and_closing_marks_never_matter(text: str, form: str) -> None:
    assert normalise(form.format(text)) == normalise(text)


@given(st.text())
def test_an_answer_matches_itself_unless_it_is_empty(text: str) -> None:
    assert exact_match(text, [text]) == bool(normalise(text))
