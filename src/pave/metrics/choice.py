"""Which option of a multiple-choice question an answer names: one careful reading, and those of the benchmarks' own scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from pave.metrics.exact import normalise

_ALONE = re.compile(r"^[\s\"'*(\[]*([A-Za-z])[\s\"'*)\].:,]*$")
_FIRST = re.compile(r"^[\s\"'*]*(?:\(([A-Z])\)?|\[([A-Z])\]|([A-Z])[).:\]])(?=\W|$|\s*\w)")
_NAMED = re.compile(r"(?i:\b(?:answer|option|choice)\b(?:\s+is)?)\s*:?\s*[\"'*(\[]*([A-Z])\b(?!')")
_STANDING = re.compile(r"(?<![\w'])([B-HJ-Z])(?![\w'])")
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)
_MARKS = ';/[]"{}()=+\\_->@<`,?!'


def choice_letter(answer: str, options: Sequence[str] = (), count: int = 4) -> str:
    """The letter of the option that an answer names, or "" where it names none.

    In this order: a letter alone, a marked letter at the start ("B.", "(B) a dog"), "answer is B",
    the words of exactly one option, one single capital standing alone (not A, which is a word). "A
    dog" names no letter, because A may be an article.

    Args:
        answer: What a model said.
        options: The options' texts.
        count: Number of options where their texts are not known.

    Example:
        >>> choice_letter("The answer is (C)."), choice_letter("a dog", ["cat", "dog"]), choice_letter("A dog")
        ('C', 'B', '')
    """
    letters = ascii_uppercase[: len(options) or count]
    for pattern in (_ALONE, _FIRST, _NAMED):
        found = pattern.search(answer)
        letter = next((group for group in found.groups() if group), "").upper() if found else ""
        if letter and letter in letters:
            return letter
    return _by_words(answer, options) or _only(
        [letter for letter in _STANDING.findall(answer) if letter in letters]
    )


def _by_words(answer: str, options: Sequence[str]) -> str:
    """The letter of the one option whose words the answer holds; the longest one where options hold each other."""
    said = f" {normalise(answer)} "
    texts = [normalise(re.sub(r"^\s*\(?[A-Z][.)]\s*", "", option)) for option in options]
    held = [place for place, text in enumerate(texts) if text and f" {text} " in said]
    best = [
        place
        for place in held
        if not any(place != other and f" {texts[place]} " in f" {texts[other]} " for other in held)
    ]
    return _only([ascii_uppercase[place] for place in best])


def _only(letters: Sequence[str]) -> str:
    """The letter that all of them are, or ""."""
    return letters[0] if len(set(letters)) == 1 else ""


def first_capital(answer: str) -> str:
    """VideoMME's script: the first of A to D anywhere, after taking off some openings.

    Two of its openings are joined by a missing comma and never match, and any capital counts:
    "Because" is B.

    Example:
        >>> first_capital("The best answer is C."), first_capital("Because"), first_capital("dog")
        ('C', 'B', '')
    """
    text = answer.strip()
    for prefix in _PREFIXES:
        text = text.replace(prefix, "")
    found = re.search("[ABCD]", text)
    return found[0] if found else ""


def bracketed(answer: str) -> str:
    """MLVU's script: the character before the first ")", or the answer as it is.

    Example:
        >>> bracketed("B) a dog"), bracketed("B")
        ('B', 'B')
    """
    text = answer.strip()
    place = text.find(")")
    return text if place < 0 else text[place - 1 : place]


def standing_letter(answer: str) -> str:
    """MVBench's script (`mcq_acc`): a leading "B." or the first letter A to E standing alone, else the answer in lower case.

    In its removal of punctuation every mark is dropped once a thousands comma is in the text,
    otherwise replaced by a space unless a space is beside it; a point between digits stays.

    Example:
        >>> standing_letter("(B) a dog"), standing_letter("It is a dog"), standing_letter("The dog.")
        ('B', 'A', 'the dog')
    """
    leading = re.match(r"^([A-E])\.\s*(.+)$", answer.strip(), re.IGNORECASE)
    if leading:
        return leading[1].upper()
    text = _unmarked(answer.replace("\n", " ").replace("\t", " ").strip())
    for mark in ("'", '"', ")", "("):
        text = text.strip(mark)
    text = text.strip().lower()
    found = re.search(r"\b([A-E])\b", text, re.IGNORECASE)
    return found[1].upper() if found else text


def _unmarked(text: str) -> str:
    thousands = re.search(r"(\d)(\,)(\d)", text) is not None
    out = text
    for mark in _MARKS:
        beside = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside or thousands else " ")
    # The script hands re.UNICODE (32) over as the number of replacements.
    return re.sub(r"(?!<=\d)(\.)(?!\d)", "", out, count=32)
