"""Other names of options than their letter: their place, and own words that hold letters."""

from __future__ import annotations

import re
from string import ascii_uppercase

_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]
_COUNTED = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
_CHINESE = "一二三四五六七八"
_OPTION = r"(?:options?|choices?|one(?=\s*(?:$|[.,;!]|is\b)))"
_BY_PLACE = re.compile(
    rf"\b(?:the\s+)?(?P<ordinal>{'|'.join(_ORDINALS)}|last)\s+{_OPTION}\b"
    rf"|\b(?:option|choice)\s+(?:number\s+|no\.?\s*|#\s*)?(?P<count>{'|'.join(_COUNTED)}|[1-9](?![\d.]\d|\d))\b"
    rf"|第(?P<chinese>[{_CHINESE}1-8])(?:个|個)?(?:选项|選項)",
    re.IGNORECASE,
)


def places_as_letters(text: str, letters: str) -> str:
    """The same text, with options that are named by their place named by their letter.

    Args:
        text: The answer.
        letters: The letters of the options, of which "the last option" is the last one.

    Example:
        >>> places_as_letters("The second option, not option 1.", "ABCD")
        'option B, not option A.'
    """

    def letter(found: re.Match[str]) -> str:
        place = _place(found, len(letters))
        if place >= len(letters):
            return found[0]
        return f"option {letters[place]}"

    return _BY_PLACE.sub(letter, text)


def _place(found: re.Match[str], count: int) -> int:
    """The place that is said, from 0."""
    ordinal = (found["ordinal"] or "").lower()
    if ordinal == "last":
        return count - 1
    if ordinal:
        return _ORDINALS.index(ordinal)
    word = (found["count"] or found["chinese"]).lower()
    for names in (_COUNTED, _CHINESE):
        if word in names:
            return names.index(word)
    return int(word) - 1


# An option that names other letters than its own: "Path B", "Both A and B".
_NAMES_A_LETTER = re.compile(r"(?<![A-Za-z0-9])[B-HJ-Z](?![A-Za-z0-9])|(?<=\w )A(?![A-Za-z0-9])")


def options_as_letters(text: str, options: dict[str, str]) -> str:
    """The same text, where options whose own words hold letters stand as their letter.

    Args:
        text: The answer.
        options: Letter -> text of the option.

    Example:
        >>> options_as_letters("It is path B", {"A": "Path B", "B": "Path C"})
        'It is A'
    """
    letters = set(ascii_uppercase[: len(options)])
    risky = {}
    for letter, option in options.items():
        named = letters.intersection(_NAMES_A_LETTER.findall(option))
        if named and " " in option:
            risky[letter] = option
    # The longest first: "Both A and B" holds "A and B".
    for letter, option in sorted(risky.items(), key=lambda item: -len(item[1])):
        words = r"\s+".join(map(re.escape, option.rstrip(".").split()))
        text = re.sub(rf"(?<!\w){words}(?!\w)", letter, text, flags=re.IGNORECASE)
    return text
