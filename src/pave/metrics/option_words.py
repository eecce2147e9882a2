"""Which option of a multiple-choice question the words of an answer name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from string import ascii_uppercase

from pave.metrics.choice_patterns import MAYBE
from pave.metrics.exact import normalise
from pave.metrics.numbers import one_token

# How an option itself may begin in a file of annotations: "A. ", "(A) ".
_MARK = re.compile(r"^\s*\(?[A-Z][.)]\s*")
# What joins the normalised words of two options: "a dog as well as a cat".
_JOINED = re.compile(
    rf" (?:or|and|as well as|along with|together with|plus)(?: {MAYBE})* |,? but {MAYBE} "
)
# What denies the words behind it.
_NOT = re.compile(r" (?:not|no|isnt|arent|never|than|instead of)$")
# Signs that tell options apart and are no words: money, per cent, C++ and C#.
_UNITS = {
    "$": " dollar ",
    "\u20ac": " euro ",
    "\u00a3": " pound ",
    "%": " percent ",
    "\u00b0": " degree ",
}
_UNIT_WORDS = {word.strip() for word in _UNITS.values()}
_UNIT_WORDS |= {f"{word}s" for word in _UNIT_WORDS}
_HUNG = re.compile(r"(?<=\w)(\+\+|#)")
_HUNG_WORDS = {"++": "plusplus", "#": "sharp"}
_QUOTES = "\"'\u201c\u201d\u2018\u2019*` "
_ENDS = ".!,;:\u3002 "

Spelling = Callable[[str], str]


class OptionWords:
    """The options of one question, as they may be named by their words.

    Every method returns a letter, also where the question's options are shown without letters.

    Args:
        options: The options' texts, maybe none; beyond Z there are no letters.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self.texts: dict[str, str] = {}
        for letter, option in zip(ascii_uppercase, options, strict=False):
            self.texts[letter] = _MARK.sub("", option).strip()

    def equal(self, text: str) -> str:
        """The option that a text is, sign for sign; marks of a sentence may stand around it."""
        for spell in (_as_is, bare):
            found = self._spelled_as(text, spell)
            if len(found) == 1:
                return found[0]
        return ""

    def same(self, clause: str) -> str:
        """The option whose words a clause is."""
        return only(self._spelled_as(clause, _spelled))

    def opening(self, clause: str) -> str:
        """The option whose words open a clause; the longest where several do."""
        padded = f"{_spelled(clause)} "
        best = ""
        length = 0
        for letter, option in self.texts.items():
            words = _spelled(option)
            if len(words) > length and padded.startswith(f"{words} "):
                best = letter
                length = len(words)
        return best

    def several(self, clause: str) -> bool:
        """Whether a clause is the words of several options: "a dog as well as a cat"."""
        pieces = _JOINED.split(f" {_spelled(clause)} ")
        named = [self.same(piece) for piece in pieces]
        return len(pieces) > 1 and all(named) and len(set(named)) > 1

    def held(self, text: str) -> str:
        """The one option whose words a text holds, and does not deny.

        Where options hold each other ("a red car", "car") the longest one counts. An answer may
        leave out units; that is tried where nothing is found with them.
        """
        for spell in (_spelled, _unitless):
            found = self._asserted(text, spell)
            if found:
                return only(_longest(found))
        return ""

    def _spelled_as(self, text: str, spell: Spelling) -> list[str]:
        """The options that are spelled as a text is."""
        wanted = spell(text)
        if not wanted:
            return []
        return [letter for letter, option in self.texts.items() if spell(option) == wanted]

    def _asserted(self, text: str, spell: Spelling) -> dict[str, str]:
        """The options that a text holds and does not deny: letter -> words."""
        padded = f" {spell(text)} "
        found = {}
        for letter, option in self.texts.items():
            words = spell(option)
            if words and _is_asserted(f" {words} ", padded):
                found[letter] = f" {words} "
        return found


def only(letters: Iterable[str]) -> str:
    """The letter that all of them are, or ""."""
    different = set(letters)
    if len(different) != 1:
        return ""
    return different.pop()


def bare(text: str) -> str:
    """A text in small letters, without quotes around it and marks at its end."""
    return _as_is(text).casefold().strip(_QUOTES).rstrip(_ENDS)


def _as_is(text: str) -> str:
    """A text in its composed form, without space around it."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _spelled(text: str) -> str:
    """Normalised words; numbers are one token each, and signs that matter are words."""
    # What hangs on a name is part of the word: C++ is another word than C.
    text = _HUNG.sub(lambda found: _HUNG_WORDS[found[0]], text)
    text = one_token(text)
    for sign, word in _UNITS.items():
        text = text.replace(sign, word)
    return normalise(text)


def _unitless(text: str) -> str:
    """The same without units."""
    words = _spelled(text).split()
    return " ".join(word for word in words if word not in _UNIT_WORDS)


def _is_asserted(words: str, text: str) -> bool:
    """Whether words stand in a text at least once without a "not" or "no" before them."""
    start = text.find(words)
    while start >= 0:
        if not _NOT.search(text[:start]):
            return True
        start = text.find(words, start + 1)
    return False


def _longest(found: dict[str, str]) -> list[str]:
    """The letters of those options that no other one of them holds."""
    longest = []
    for letter, words in found.items():
        others = [other for name, other in found.items() if name != letter]
        if not any(words in other for other in others):
            longest.append(letter)
    return longest
