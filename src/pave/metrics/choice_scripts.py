"""How the scripts of some benchmarks read a letter: crudely.

They are part of published numbers and stay to the letter. The careful reading is that of
`pave.metrics.choice`.
"""

from __future__ import annotations

import re

# The openings that VideoMME's script takes off, as they stand there: the last one is two, joined
# by a missing comma, and never matches.
PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)
# The punctuation that MVBench's script removes.
MARKS = ';/[]"{}()=+\\_->@<`,?!'


def first_capital(answer: str) -> str:
    """VideoMME's script: the first of A to D anywhere, after taking off some openings.

    Two of its openings are joined by a missing comma and never match, and any capital counts:
    "Because" is B.

    Example:
        >>> first_capital("The best answer is C."), first_capital("Because"), first_capital("dog")
        ('C', 'B', '')
    """
    text = answer.strip()
    for prefix in PREFIXES:
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
    for mark in MARKS:
        # What is beside a mark is looked up in the text as it was, not as it has become.
        beside = f"{mark} " in text or f" {mark}" in text
        filler = " "
        if beside or thousands:
            filler = ""
        out = out.replace(mark, filler)
    # The script hands re.UNICODE (32) over as the number of replacements, and its look-behind is
    # misspelt (`?!<=`), so that any point goes that has no digit behind it.
    return re.sub(r"(?!<=\d)(\.)(?!\d)", "", out, count=32)
