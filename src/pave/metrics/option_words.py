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
# What denies the words behind it, in other languages with an article between.
_NOT = re.compile(
    r" (?:(?:not|no|isnt|arent|never|than|instead of|nor|neither|without|unlike)(?: any)?"
    r"|(?:nicht|keine?[nmrs]?|nest pas|pas|no es|non [èe]|n[ãa]o [ée]|niet|geen|inte|ikke|nie|не"
    r"|ни)"
    r"(?: (?:une?|des?|el|los|las?|les?|uno|uma?|o|de[nrt]|die|das|eine?[nmrs]?|een|het|ett?|en)"
    r")?)$"
)
# The same behind them, where that tells two options apart: "the cat is not, the dog is".
_NOT_BEHIND = re.compile(r" (?:(?:is|was|are|were|does|do|did|can|could)(?:nt| not)|cannot)\b")
_CHINESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\u0e00-\u0e7f]")
_KOREAN = re.compile(r"[\uac00-\ud7af]")
_NOT_CHINESE = re.compile(r"(?:不是|没有|沒有|不|没|無|无)[一]?[只个個条]?$")
_NOT_AFTER = re.compile(r"\s*(?:では|じゃ)(?:な|あり)|[이가]\s*아[니닙]")
# Words that say yes and no.
_YES_NO = {"yeah": "yes", "yep": "yes", "yup": "yes", "nope": "no", "nah": "no"}
_COUNTS = re.compile(r"[0-9]|\b(?:first|second|third|fourth|last|one|two|three|four|five)\b")
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
_SAID_ALOUD = re.compile(r"\b([a-g]) (sharp|plus plus)\b")
_RANGE = re.compile(r"(?<=\d)\s+to\s+(?=\d)")
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

    @property
    def count_something(self) -> bool:
        """Whether an option is a count or a place itself, so that "option 2" is no letter."""
        return any(_COUNTS.search(option.casefold()) for option in self.texts.values())

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
        for spell in (_spelled, _unitless, _unaccented):
            found = self._asserted(text, spell)
            if found:
                longest = set(_longest(found))
                return only(longest) or only(longest - _denied_behind(found, spell(text)))
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
        spelled = dict(zip(self.texts, map(spell, self.texts.values()), strict=True))
        found = {}
        for letter, words in spelled.items():
            if not words:
                continue
            if not _CHINESE.search(words) and not _KOREAN.search(words):
                words = f"{words} "
            if not _CHINESE.search(words):
                words = f" {words}"
            if _is_asserted(words, padded, spelled.values()):
                found[letter] = words
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
    # "C sharp" is what hangs on a name, said aloud; "0 to 5" is 0-5.
    text = _SAID_ALOUD.sub(lambda found: found[1] + found[2].replace(" ", ""), text)
    text = _RANGE.sub(" ", text)
    words = normalise(text).split()
    return " ".join(_YES_NO.get(word, word) for word in words)


def _unitless(text: str) -> str:
    """The same without units."""
    words = _spelled(text).split()
    return " ".join(word for word in words if word not in _UNIT_WORDS)


def _unaccented(text: str) -> str:
    """The same without accents: "cafe" for "Café"."""
    parts = unicodedata.normalize("NFD", _spelled(text))
    return "".join(part for part in parts if not unicodedata.combining(part))


def _is_asserted(words: str, text: str, options: Iterable[str]) -> bool:
    """Whether words stand in a text at least once without a "not" or "no" before them.

    Args:
        words: The words, with a space at each end that must be the end of a word.
        text: The text, spelled in the same way.
        options: All options: "not the red car or the tree" denies both.
    """
    start = text.find(words)
    while start >= 0:
        before = text[:start]
        behind = text[start + len(words) :]
        if not _is_denied(before, options) and not _NOT_AFTER.match(behind):
            return True
        start = text.find(words, start + 1)
    return False


def _is_denied(before: str, options: Iterable[str]) -> bool:
    """Whether what stands in front of words denies them."""
    if _NOT.search(before) or _NOT_CHINESE.search(before):
        return True
    joined = before.removesuffix(" or").removesuffix(" nor")
    if joined == before:
        return False
    for option in options:
        if option and joined.endswith(f" {option}"):
            return _is_denied(joined.removesuffix(f" {option}"), options)
    return False


def _denied_behind(found: dict[str, str], text: str) -> set[str]:
    """The letters whose words are always denied behind: "the cat is not, the dog is"."""
    denied = set()
    for letter, words in found.items():
        pieces = f" {text} ".split(words.rstrip())[1:]
        if all(map(_NOT_BEHIND.match, pieces)):
            denied.add(letter)
    return denied


def _longest(found: dict[str, str]) -> list[str]:
    """The letters of those options that no other one of them holds."""
    longest = []
    for letter, words in found.items():
        others = [other for name, other in found.items() if name != letter]
        if not any(words in other for other in others):
            longest.append(letter)
    return longest
