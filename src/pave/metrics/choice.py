"""Which option of a multiple-choice question an answer names.

One careful reading (`choice_letter`), and those of the benchmarks' own scripts, which are cruder
and part of their published numbers: `first_capital`, `bracketed`, `standing_letter`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from pave.metrics.exact import normalise

# "b", "(B)", "**B**.": a letter and marks around it, nothing else.
_ALONE = re.compile(r"^[\s\"'*(\[]*([A-Za-z])[\s\"'*)\].:,]*$")
# "B. a dog", "(B) a dog", "[B]": a marked capital at the start.
_FIRST = re.compile(r"^[\s\"'*]*(?:\(([A-Z])\)?|\[([A-Z])\]|([A-Z])[).:\]])(?=\W|$|\s*\w)")
# "The answer is (B)", "option B"; not "option A's".
_NAMED = re.compile(r"(?i:\b(?:answer|option|choice)\b(?:\s+is)?)\s*:?\s*[\"'*(\[]*([A-Z])\b(?!')")
# A capital standing alone anywhere, but for A and I, which are words.
_STANDING = re.compile(r"(?<![\w'])([B-HJ-Z])(?![\w'])")
# How an option itself may begin in a file of annotations: "A. ", "(A) ".
_MARK = re.compile(r"^\s*\(?[A-Z][.)]\s*")

# The openings that VideoMME's script takes off, as they stand there: the last one is two, joined
# by a missing comma, and never matches.
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)
# The punctuation that MVBench's script removes.
_MARKS = ';/[]"{}()=+\\_->@<`,?!'


def choice_letter(answer: str, options: Sequence[str] = (), count: int = 4) -> str:
    """The letter of the option that an answer names, or "" where it names none.

    In this order: a letter alone, a marked letter at the start ("B.", "(B) a dog"), "answer is B",
    the words of exactly one option, one single capital standing alone (not A, which is a word). "A
    dog" names no letter, because A may be an article.

    Args:
        answer: What a model answered.
        options: The options' texts.
        count: Number of options where their texts are not known.

    Example:
        >>> choice_letter("The answer is (C)."), choice_letter("a dog", ["cat", "dog"])
        ('C', 'B')
        >>> choice_letter("A dog")
        ''
    """
    letters = ascii_uppercase[: len(options) or count]
    for pattern in (_ALONE, _FIRST, _NAMED):
        found = pattern.search(answer)
        if found is None:
            continue
        # Exactly one of a pattern's alternatives has caught something.
        letter = "".join(group or "" for group in found.groups()).upper()
        if letter in letters:
            return letter
    standing = [letter for letter in _STANDING.findall(answer) if letter in letters]
    return _by_words(answer, options) or _only(standing)


def _by_words(answer: str, options: Sequence[str]) -> str:
    """The letter of the one option whose words the answer holds.

    Where options hold each other ("a red car", "car") the longest one counts.
    """
    padded = f" {normalise(answer)} "
    held: dict[str, str] = {}
    for letter, option in zip(ascii_uppercase, options, strict=False):
        words = normalise(_MARK.sub("", option))
        if words and f" {words} " in padded:
            held[letter] = f" {words} "
    best = []
    for letter, words in held.items():
        others = dict(held)
        del others[letter]
        if not any(words in other for other in others.values()):
            best.append(letter)
    return _only(best)


def _only(letters: Sequence[str]) -> str:
    """The letter that all of them are, or ""."""
    if len(set(letters)) != 1:
        return ""
    return letters[0]


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
    if found is None:
        return ""
    return found[0]


def bracketed(answer: str) -> str:
    """MLVU's script: the character before the first ")", or the answer as it is.

    Its prompt ends with "Best option: (", so an answer goes on with "B) a dog".

    Example:
        >>> bracketed("B) a dog"), bracketed("B")
        ('B', 'B')
    """
    text = answer.strip()
    place = text.find(")")
    if place < 0:
        return text
    return text[place - 1 : place]


def standing_letter(answer: str) -> str:
    """MVBench's script (`mcq_acc`): a leading "B.", or the first letter A to E standing alone.

    Where there is none, the answer in lower case. In its removal of punctuation every mark is
    dropped once a thousands comma is in the text, otherwise replaced by a space unless a space is
    beside it; a point between digits stays.

    Example:
        >>> standing_letter("(B) a dog"), standing_letter("It is a dog")
        ('B', 'A')
        >>> standing_letter("The dog.")
        'the dog'
    """
    leading = re.match(r"^([A-E])\.\s*(.+)$", answer.strip(), re.IGNORECASE)
    if leading:
        return leading[1].upper()
    text = _unmarked(answer.replace("\n", " ").replace("\t", " ").strip())
    # One mark after the other, as the script does: "'(x)'" loses all of them, "('x')" only some.
    for mark in ("'", '"', ")", "("):
        text = text.strip(mark)
    text = text.strip().lower()
    found = re.search(r"\b([A-E])\b", text, re.IGNORECASE)
    if found is None:
        return text
    return found[1].upper()


def _unmarked(text: str) -> str:
    """The text without punctuation, by the script's rule."""
    thousands = re.search(r"(\d)(\,)(\d)", text) is not None
    out = text
    for mark in _MARKS:
        # What is beside a mark is looked up in the text as it was, not as it has become.
        beside = f"{mark} " in text or f" {mark}" in text
        filler = " "
        if beside or thousands:
            filler = ""
        out = out.replace(mark, filler)
    # The script hands re.UNICODE (32) over as the number of replacements, and its look-behind is
    # misspelt (`?!<=`), so that any point goes that has no digit behind it.
    return re.sub(r"(?!<=\d)(\.)(?!\d)", "", out, count=32)
