"""Numbers in answers: one token each, and counts of Music-AVQA in words and digits."""

from __future__ import annotations

import pytest

from pave.metrics import one_token
from pave.tasks import Item, get_task
from pave.tasks.score import score_items

# Said, the answer, whether it is right.
CASES = [
    ("twenty one", "one", False),
    ("twenty-one", "one", False),
    ("one hundred", "one", False),
    ("1.5", "one", False),
    ("1", "one", True),
    ("There are two violins.", "two", True),
    ("two", "two", True),
    ("twenty two", "two", False),
    ("two hundred", "two", False),
    ("2.5", "two", False),
    ("2.0", "two", True),
    ("1,000", "one", False),
    ("-1", "one", False),
    ("1/2", "one", False),
    ("one half", "one", False),
    ("two and a half", "two", False),
    ("two point five", "five", False),
    ("one thousand and two", "two", False),
    ("ten thousand", "ten", False),
    ("seventy-seven", "seven", False),
    ("There are none.", "zero", True),
    ("none", "zero", True),
    ("0", "zero", True),
    ("zero", "zero", True),
    ("no", "zero", False),
    ("two or three", "three", True),
    ("one, two", "one", True),
    ("10", "ten", True),
    ("more than 10", "more than ten", True),
    ("more than 10", "ten", False),
    ("10+", "ten", False),
    ("no one", "one", False),
    ("No one plays.", "no", True),
    ("Two.", "two", True),
    ("2.", "two", True),
    ("(2)", "two", True),
    ("**two**", "two", True),
    ("<think>two</think>three", "two", False),
    ("<think>two</think>three", "three", True),
    ("two", "2", True),
    ("2", "2", True),
    ("twenty-one", "21", True),
    ("21", "twenty-one", True),
    ("２", "two", True),
    ("two violins and one piano", "one", True),
    ("ten", "ten", True),
    ("a hundred", "one", False),
    ("one dozen", "one", False),
    ("eleven", "one", False),
    ("2 violins", "two", True),
    ("2nd", "two", False),
    ("1:30", "one", False),
    ("2-3", "two", True),
    ("one hundred and one", "one", False),
    ("20", "two", False),
    ("x2", "two", False),
    ("2x", "two", False),
    ("piano", "no", False),
    ("acoustic guitar", "acoustic_guitar", True),
    ("two of the violins", "two", True),
    ("nine hundred ninety-nine", "nine", False),
    ("two-thirds", "two", False),
    ("1st", "one", False),
    ("one one", "one", True),
    ("three-quarters", "three", False),
    ("minus two", "two", False),
    ("The answer is 4.", "four", True),
    ("4 instruments, 2 of them violins.", "two", True),
]


@pytest.mark.parametrize(("said", "answer", "right"), CASES)
def test_a_count_is_right_by_its_value_and_not_by_a_part_of_it(said, answer, right):
    item = Item("1", "v", said, (answer,))
    assert score_items(get_task("music-avqa"), [item])[1][0]["correct"] is right


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("one hundred and five", "105"),
        ("five thousand two hundred and eleven", "5211"),
        ("two million", "2000000"),
        ("a dozen", "12"),
        ("one two three", "1 2 3"),
        ("twenty ten", "20 10"),
        ("minus two", "minus2"),
        ("-2", "minus2"),
        ("2-3", "2-3"),
        ("1,234.50", "1234point5"),
        ("someone", "someone"),
    ],
)
def test_every_number_is_one_token(text, tokens):
    assert one_token(text) == tokens
