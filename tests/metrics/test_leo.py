"""LEO's cleaning and its refined match, against the steps written out one by one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.metrics import answer_match, clean_answer

_STEPS = [
    (r"[ ]+$", ""), (r"^[ ]+", ""), (r" {2,}", " "), (r"\.[ ]{2,}", ". "),
    (r"[^a-zA-Z0-9,'\s\-:]+", ""),
    (r"\bletf\b", "left"), (r"\blet\b", "left"), (r"\btehre\b", "there"),
    (r"\brigth\b", "right"), (r"\brght\b", "right"),
    (r"\bbehine\b", "behind"), (r"\btv\b", "TV"), (r"\bchai\b", "chair"),
    (r"\bwasing\b", "washing"),
    (r"\bwaslked\b", "walked"), (r"\boclock\b", "o'clock"), (r"\bo'[ ]+clock\b", "o'clock"),
    (r"\b0\b", "zero"), (r"\bnone\b", "zero"),
    *[
        (rf"\b{number}\b", word)
        for number, word in zip(
            [*range(1, 21), 23],
            [
                "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
                "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
                "eighteen", "nineteen", "twenty", "twenty-three",
            ],
            strict=True,
        )
    ],
    (r"\b([a-zA-Z]+)([0-9])\b", r"\g<1>"),
    (r"\ba\b ([a-zA-Z]+)", r"\g<1>"), (r"\ban\b ([a-zA-Z]+)", r"\g<1>"),
    (r"\bthe\b ([a-zA-Z]+)", r"\g<1>"),
    (r"\bbackwards\b", "backward"),
]  # fmt: skip


def step_by_step(text: str) -> str:
    text = text.lower()
    for pattern, word in _STEPS:
        text = re.sub(pattern, word, text)
    return text


_words = st.sampled_from(
    [
        "a",
        "an",
        "the",
        "A",
        "1",
        "2",
        "20",
        "21",
        "23",
        "none",
        "letf",
        "let",
        "tv",
        "TV's",
        "o'",
        "clock",
        "oclock",
        "chair2",
        "no1",
        "é",
        ".",
        ",",
        "-",
        ":",
        "'",
        "0",
        "backwards",
        "Ö",
    ]
)
_texts = st.one_of(
    st.text(),
    st.lists(st.one_of(_words, st.sampled_from([" ", "  ", "\n", ""])), max_size=12).map(" ".join),
)


@given(_texts)
def test_cleaning_equals_its_steps(text: str) -> None:
    assert clean_answer(text) == step_by_step(text)


@pytest.mark.parametrize("empty", ["", " ", "椅子", "..."])
def test_an_empty_answer_matches_everything_only_for_the_authors(empty: str) -> None:
    said = clean_answer(empty)
    assert answer_match(said, ["chair"], empty_matches=True) == (False, True)
    assert answer_match(said, ["chair"]) == (False, False)
    assert answer_match(said, [said], empty_matches=True) == (True, True)


@given(st.text(), st.text())
def test_exact_implies_refined_and_refined_is_mutual(one: str, other: str) -> None:
    exact, refined = answer_match(one, [other])
    assert refined or not exact
    assert answer_match(other, [one])[1] == refined
