"""Reading the letter of an option out of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.metrics import choice_letter
from pave.metrics.choice_scripts import bracketed, first_capital, standing_letter

OPTIONS = ["a dog", "two cats", "a cat and a dog", "nothing"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("(C)", "C"),
        ("(C", "C"),
        ("C) a cat and a dog", "C"),
        ("C. two cats", "C"),
        ("The answer is D", "D"),
        ("Answer: (b)", "B"),
        ("The correct option is B.", "B"),
        ("I see two cats.", "B"),
        ("a cat and a dog", "C"),
        ("A cat and a dog!", "C"),
        ("A dog", "A"),
        ("It must be B here", "B"),
        ("B or C", ""),
        ("E", ""),
        ("", ""),
        ("A", "A"),
        ("Because", ""),
    ],
)
def test_letters_and_words(answer: str, letter: str) -> None:
    assert choice_letter(answer, OPTIONS) == letter


def test_lettered_options_and_unknown_options() -> None:
    assert choice_letter("she", ["A. he", "B. she"]) == "B"
    assert choice_letter("A dog") == ""
    assert choice_letter("E", count=5) == "E"


@given(st.text())
def test_any_text_gives_a_letter_of_the_options_or_none(text: str) -> None:
    assert choice_letter(text, OPTIONS) in ("", "A", "B", "C", "D")
    assert first_capital(text) in ("", "A", "B", "C", "D")
    assert len(bracketed(text)) <= max(1, len(text))
    standing_letter(text)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B. dog", "B"),
        ("b.dog", "B"),
        ("(D)", "D"),
        ("1,000 (B)", "B"),
        ("x/E", "E"),
        ("A-B", "A"),
        ("no.", "no"),
        ("", ""),
    ],
)
def test_mvbench_letters(answer: str, letter: str) -> None:
    assert standing_letter(answer) == letter
