"""Exact match of short answers, after a small clean-up that forgives spelling and nothing else.

The rule is that of the SQuAD evaluation script (lower case, no punctuation, no articles, single
spaces), because readers know it and because it needs no word lists. It does not equate "two" with
"2": questions must ask for one form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from pave.answer.thinking import without_thinking

_APOSTROPHES = re.compile(r"['\u2019]")
_APART = re.compile(r"[^\w\s]|_")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalise(text: str) -> str:
    """Bring an answer to the form in which answers are compared.

    Steps, in this order: Unicode NFKC and case folding, apostrophes dropped ("it's" -> "its"),
    other punctuation turned into a space, the articles a/an/the removed, white space collapsed. An
    answer made of nothing but articles ("A") is kept as it is, so that the letter of a
    multiple-choice option survives. Applying it twice changes nothing.

    Example:
        >>> normalise(" The Violin. ")
        'violin'
        >>> normalise("A.")
        'a'
    """
    plain = _APOSTROPHES.sub("", unicodedata.normalize("NFKC", text))
    # Case folding may leave NFKC, so it comes once more, as in Unicode's caseless matching.
    folded = unicodedata.normalize("NFKC", plain.casefold())
    words = " ".join(_APART.sub(" ", folded).split())
    without_articles = " ".join(_ARTICLES.sub(" ", words).split())
    return without_articles or words


def exact_match(prediction: str, answers: Iterable[str]) -> bool:
    """Whether the prediction equals one of the accepted answers after `normalise`.

    Thinking does not count as said. An empty prediction is never correct, not even where an
    accepted answer normalises to nothing.

    Example:
        >>> exact_match("A cello.", ["cello", "violoncello"])
        True
    """
    found = normalise(without_thinking(prediction))
    if not found:
        return False
    return any(found == normalise(answer) for answer in answers)
