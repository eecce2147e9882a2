"""Exact and refined exact match of short answers, as 3D question answering scores them.

The cleaning is that of LEO (`clean_answer` in embodied-generalist, `data/data_utils.py`), which
ScanQA and SQA3D results of the field use, the PAVE authors' too (`tools/3d/*/`). It is reproduced
to the letter, oddities included: every character that is not ASCII goes ("café" -> "caf"), only 0
to 20 and 23 become words, "none" is "zero", "let" is "left", and an article goes only before a
word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Typing errors of the annotators, and spellings to agree on.
_TYPOS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
}
_UNDER_TWENTY_ONE = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
# Digits -> words; 21 and 22 are missing in LEO's table too.
_NUMBERS = dict(zip(map(str, range(21)), _UNDER_TWENTY_ONE, strict=True))
_NUMBERS |= {"23": "twenty-three", "none": "zero"}
# All that is no ASCII letter, digit, comma, apostrophe, white space, hyphen or colon.
_FOREIGN = re.compile(r"[^a-zA-Z0-9,'\s\-:]+")
# "table2" -> "table": the last digit of a word goes.
_NUMBERED = re.compile(r"\b([a-zA-Z]+)([0-9])\b")
# An article is taken off a word only, so that "option a" keeps its letter.
_ARTICLES = (
    re.compile(r"\ba\b ([a-zA-Z]+)"),
    re.compile(r"\ban\b ([a-zA-Z]+)"),
    re.compile(r"\bthe\b ([a-zA-Z]+)"),
)


def _words(table: dict[str, str]) -> re.Pattern[str]:
    """A pattern of the whole words of a table."""
    return re.compile(rf"\b(?:{'|'.join(table)})\b")


_TYPO, _NUMBER = _words(_TYPOS), _words(_NUMBERS)


def clean_answer(text: str) -> str:
    """Bring an answer to LEO's form.

    Example:
        >>> clean_answer(" The 2 chairs, to the rigth of the TV. ")
        'two chairs, to right of TV'
    """
    # `$` also stands before a last line break, so this is not strip(" ").
    text = re.sub(" +$", "", text.lower())
    text = re.sub("^ +", "", text)
    text = re.sub(" {2,}", " ", text)
    text = _FOREIGN.sub("", text)
    text = _TYPO.sub(lambda found: _TYPOS[found[0]], text)
    text = re.sub(r"\bo'[ ]+clock\b", "o'clock", text)
    text = _NUMBER.sub(lambda found: _NUMBERS[found[0]], text)
    text = _NUMBERED.sub(r"\1", text)
    # One after the other: "a the door" loses both, "the the door" only one.
    for article in _ARTICLES:
        text = article.sub(r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def answer_match(
    prediction: str, references: Sequence[str], *, empty_matches: bool = False
) -> tuple[bool, bool]:
    """Exact match and refined exact match of cleaned strings.

    Exact: the prediction is one of the references. Refined: without white space, one contains the
    other.

    Args:
        prediction: A cleaned prediction.
        references: Cleaned references.
        empty_matches: Let an empty string count as contained in any other, as the authors' scripts
            do: there, an empty answer, or one in another script than Latin, is a refined match of
            everything.

    Example:
        >>> answer_match("trash can", ["trashcan"]), answer_match("", ["bin"])
        ((False, True), (False, False))
        >>> answer_match("", ["bin"], empty_matches=True)
        (False, True)
    """
    if prediction in references and (prediction or empty_matches):
        return True, True
    found = "".join(prediction.split())
    for reference in references:
        wanted = "".join(reference.split())
        # "" is contained in anything, and with it everything would match.
        both = bool(found and wanted) or empty_matches
        if both and (found in wanted or wanted in found):
            return False, True
    return False, False
