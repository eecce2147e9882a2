"""Which option of a multiple-choice question an answer states.

One careful reading (`choice_letter`, and `stated_option` where options have no letters), which all
tasks share, and those of the benchmarks' own scripts, which are cruder and part of their published
numbers: `first_capital`, `bracketed`, `standing_letter`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import NamedTuple

from pave.metrics import choice_patterns as said
from pave.metrics.exact import normalise
from pave.metrics.final_text import final_text
from pave.metrics.numbers import one_token


class _Stated(NamedTuple):
    """A letter that is stated, and where; "" for a statement of several.

    Words behind a mere "no" or "but" weigh less than any letter: "The answer is B. No cat is seen."
    """

    strong: bool
    place: int
    letter: str


def choice_letter(answer: str, options: Sequence[str] = (), count: int = 4) -> str:
    """The letter of the option that an answer states, or "" where it states none.

    Thinking is left out, and tags, boxes, JSON, LaTeX and Markdown are read through
    (`pave.metrics.final_text`). Then, in this order: a letter alone; the very text of one option;
    what is stated last ("the answer is B", "B is correct", "no, wait, B", a line with B alone); a
    marked letter at the start ("B.", "(b) a dog"); the words of exactly one option; the one
    letter that is mentioned and not denied ("not A"). After "answer is", too, "a dog" is an
    article and a word, which names the option of that text and never A.

    Args:
        answer: What a model answered.
        options: The options' texts.
        count: Number of options where their texts are not known.

    Example:
        >>> choice_letter("The answer is (C)."), choice_letter("a dog", ["cat", "dog"])
        ('C', 'B')
        >>> choice_letter("Option A shows a cat. Therefore, the answer is D.")
        'D'
        >>> choice_letter("A dog")
        ''
    """
    letters = ascii_uppercase[: len(options) or count]
    return _Reading(options, letters).letter(answer)


def stated_option(answer: str, options: Sequence[str]) -> str:
    """The option that an answer states by its words, "" for none; letters name none.

    Example:
        >>> stated_option("Not a novice: the level is Late Expert.", ["Novice", "Late Expert"])
        'Late Expert'
    """
    letter = _Reading(options, "").letter(answer)
    if not letter:
        return ""
    return options[ascii_uppercase.index(letter)]


class _Reading:
    """The reading of answers to one question.

    Args:
        options: The options' texts, maybe none.
        letters: The letters that name options, maybe none.
    """

    def __init__(self, options: Sequence[str], letters: str) -> None:
        self.letters = letters
        # The letter -> the option's text without its mark; beyond Z there are no letters.
        self.options = {}
        for letter, option in zip(ascii_uppercase, options, strict=False):
            self.options[letter] = said.MARK.sub("", option).strip()

    def letter(self, answer: str) -> str:
        """The letter of the stated option, or ""."""
        text = final_text(answer)
        given = said.JSON.findall(text)
        if given:
            # The last one; exactly one of the pattern's alternatives has caught something.
            text = "".join(given[-1])
        alone = said.LINE.fullmatch(text)
        if alone and alone[1].upper() in self.letters:
            return alone[1].upper()
        equal = self._equal(text)
        if equal:
            return equal
        stated = sorted(self._statements(text))
        if stated and self._among_several(text, stated[-1].place):
            return ""
        if stated:
            return stated[-1].letter
        return self._leading(text) or self._by_words(text) or self._mentioned(text)

    def _among_several(self, text: str, place: int) -> bool:
        """Whether a statement there names one of several: "option A as well as option B"."""
        for found in said.SEVERAL.finditer(text):
            if not found.start() <= place < found.end():
                continue
            behind = text[found.end() : found.end() + said.NEAR]
            if said.NOT_BEHIND.match(behind):
                continue  # "B, A and C are wrong"
            named = re.findall(r"\b[A-Z]\b", found[0])
            ends = said.CLAUSE_END.match(behind) or said.ALL.match(behind)
            # "of A and C, C is the best": what comes twice is chosen from the others.
            if ends and len({*named} & {*self.letters}) == len(named):
                return True
        return False

    def _equal(self, text: str) -> str:
        """The option that the answer is, sign for sign; marks of a sentence may stand around it."""
        for form in (_as_is, _bare):
            wanted = form(text)
            same = [letter for letter, option in self.options.items() if form(option) == wanted]
            if wanted and len(same) == 1:
                return same[0]
        return ""

    def _statements(self, text: str) -> Iterator[_Stated]:
        """All that is stated, in no order."""
        for found in said.STATED.finditer(text):
            if not _doubted(text, found.start()) and not said.DENIAL.search(found[0]):
                yield from self._after(text, found.end(), words=True)
        for found in said.POINTED.finditer(text):
            if not _doubted(text, found.start()):
                turn = not re.match(r"it|this|that", found[0], re.IGNORECASE)
                yield from self._after(text, found.end(), words=turn, inside=False)
        for found in said.PRAISED.finditer(text):
            letter = found[1].upper()
            # "a is the right ..." is no English; "A" and "I" in small letters are words.
            named = bool(said.NAMED.search(_before(text, found.start()))) or found[0][0] in "(["
            if letter not in self.letters or (found[1] == "a" and not named):
                continue
            if not _doubted(text, found.start()) and not said.NOT_BEFORE.search(
                _before(text, found.start())
            ):
                yield _Stated(True, found.start(), letter)
        for found in said.LINE.finditer(text):
            if found[1].upper() in self.letters:
                yield _Stated(True, found.start(1), found[1].upper())

    def _after(
        self, text: str, start: int, *, words: bool, inside: bool = True
    ) -> Iterator[_Stated]:
        """What stands after an opening: a letter, or else the words of an option.

        Args:
            text: The answer.
            start: Where the opening ends.
            words: Whether words may name the option.
            inside: Whether they may stand anywhere in the clause, not only at its start.
        """
        filler = said.FILLER.match(text, start)
        begin = start
        if filler is not None:
            begin = filler.end()
        letter: str | None = ""
        # "the answer is B", but not the "b" of "the answerb"; Chinese needs no space.
        before = text[begin - 1 : begin]
        if not (before.isascii() and before.isalnum()):
            letter = self._letter_at(text, begin)
        if letter is None:
            yield _Stated(True, begin, "")
        elif letter:
            yield _Stated(True, begin, letter)
        elif words and self.options:
            end = said.SENTENCE_END.search(text, begin)
            clause = text[begin:]
            if end is not None:
                clause = text[begin : end.start()]
            named = self._leading_words(clause)
            if named and self._joined_words(clause):
                yield _Stated(True, begin, "")
                return
            if not named and inside:
                named = self._by_words(clause)
            if named:
                yield _Stated(inside, begin, named)

    def _letter_at(self, text: str, begin: int) -> str | None:
        """The letter stated at a place, "" for none, None where it is one of several."""
        found = said.LETTER.match(text, begin)
        if found is None or found[2].upper() not in self.letters:
            return ""
        if said.OWNED.match(text, found.end(2)):
            return ""  # A's
        letter, end = found[2].upper(), found.end()
        behind = text[end : end + said.NEAR]
        if (behind[:1] in {"+", "#", "-", "?"} and not found[3]) or said.NOT_BEHIND.match(behind):
            return ""  # C++, a question, "A is wrong"
        if self._one_of_several(letter, behind):
            return None
        marked = bool(found[1]) and bool(found[3])
        if marked or self._ends(letter, found[2], behind):
            return letter
        # "option A dog": after that word no article can stand.
        named = found[2] == "A" and said.NAMED.search(_before(text, begin))
        return letter * bool(named)

    def _one_of_several(self, letter: str, behind: str) -> bool:
        """Whether "or B" and no more of a clause stands behind a letter."""
        other = said.OR.match(behind)
        if other is None or other[1].upper() not in self.letters.replace(letter, ""):
            return False
        return said.CLAUSE_END.match(behind, other.end()) is not None

    def _ends(self, letter: str, written: str, behind: str) -> bool:
        """Whether what stands behind a letter lets it be one, and not the first word of a text."""
        if said.CLAUSE_END.match(behind) or self._own_words(letter, behind):
            return True
        # A letter before a word: B is none but a letter, A and I may be words.
        return written.isupper() and written not in "AI"

    def _own_words(self, letter: str, text: str) -> bool:
        """Whether a text begins with the words of a letter's option, article and all."""
        option = self.options.get(letter, "")
        if not option:
            return False
        article = re.match(r"(?i)(?:an?|the)\s", option)
        if article is None and letter == "A":
            return False  # "A dog" is an article and its word
        return _bare(text).startswith(_bare(option))

    def _leading(self, text: str) -> str:
        """The letter or the option that opens the answer, unless it opens a list of options."""
        items = [letter.upper() for letter in said.LIST_ITEM.findall(text)]
        listed = items[:2] == ["A", "B"]
        for pattern in (said.MARKED, said.COMMA):
            found = pattern.match(text)
            if found is None or listed:
                continue
            letter = "".join(group or "" for group in found.groups()).upper()
            behind = text[found.end() :]
            rest = text[found.end(found.lastindex or 0) :].lstrip(")]")
            other = said.OR.match(rest)
            # "B and a dog": a small letter, or A, may be a word unless the clause ends with it.
            several = other is not None and (
                other[1] in "BCDEFGHJKLMNOPQRSTUVWXYZ" or said.CLAUSE_END.match(rest, other.end())
            )
            if letter in self.letters and not several and not said.NOT_BEHIND.match(behind):
                return letter
        clause = re.split(r"[.,;:!?\n](?:\s|$)", text, maxsplit=1)[0]
        return self._equal(clause) or self._same_words(clause)

    def _same_words(self, clause: str) -> str:
        """The option whose words a clause is."""
        wanted = _spelled(clause)
        same = [letter for letter, option in self.options.items() if _spelled(option) == wanted]
        if not wanted:
            return ""
        return _only(same)

    def _leading_words(self, clause: str) -> str:
        """The option whose words open a clause; the longest where several do."""
        best, length = "", 0
        padded = f"{_spelled(clause)} "
        for letter, option in self.options.items():
            words = _spelled(option)
            if words and padded.startswith(f"{words} ") and len(words) > length:
                best, length = letter, len(words)
        return best

    def _joined_words(self, clause: str) -> bool:
        """Whether a clause is the words of several options: "a dog as well as a cat"."""
        pieces = [self._same_words(piece) for piece in said.JOINED.split(f" {_spelled(clause)} ")]
        return len(pieces) > 1 and all(pieces) and len(set(pieces)) > 1

    def _by_words(self, text: str) -> str:
        """The letter of the one option whose words the answer holds, and does not deny.

        Where options hold each other ("a red car", "car") the longest one counts.
        """
        for spell in (_spelled, _unitless):
            padded = f" {spell(text)} "
            held: dict[str, str] = {}
            for letter, option in self.options.items():
                words = f" {spell(option)} "
                if words.strip() and _asserted(words, padded):
                    held[letter] = words
            best = []
            for letter, words in held.items():
                others = [other for name, other in held.items() if name != letter]
                if not any(words in other for other in others):
                    best.append(letter)
            if held:
                return _only(best)
        return ""

    def _mentioned(self, text: str) -> str:
        """The one letter that is mentioned and not denied."""
        kept, denied = [], set[str]()
        for pattern in (said.STANDING, said.MENTION):
            for found in pattern.finditer(text):
                letter, start, end = found[1].upper(), found.start(1), found.end(1)
                if letter not in self.letters:
                    continue
                if text[end : end + 1] and text[end] in "+#":
                    continue
                if said.EXCEPT.search(_before(text, start)):
                    kept.append(letter)
                elif _denied(text, start, end):
                    denied.add(letter)
                else:
                    kept.append(letter)
        for found in said.SEVERAL.finditer(text):
            # B to Z have been seen above, wherever they stand.
            words = set(re.findall(r"\b[AI]\b", found[0]))
            if said.BETWEEN.search(_before(text, found.start())):
                continue  # what is chosen from, not what is chosen
            if " nor " in found[0] or _denied(text, found.start(), found.end()):
                denied |= words
            else:
                kept += sorted(words & set(self.letters))
        return _only([letter for letter in kept if letter not in denied])


def _before(text: str, place: int) -> str:
    """What stands near before a place: patterns that end there need not search a whole essay."""
    return text[max(0, place - said.NEAR) : place]


def _denied(text: str, start: int, end: int) -> bool:
    """Whether it is said of the letter there that it is not meant."""
    before = said.NOT_BEFORE.search(_before(text, start))
    return bool(before or said.NOT_BEHIND.match(text, end))


def _doubted(text: str, place: int) -> bool:
    """Whether what stands before a place takes it back or only thinks of it."""
    return said.DOUBT.search(_before(text, place)) is not None


def _as_is(text: str) -> str:
    """A text in its composed form, without space around it."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _bare(text: str) -> str:
    """The same in small letters, without quotes around it and marks at its end."""
    return _as_is(text).casefold().strip("\"'\u201c\u201d\u2018\u2019*` ").rstrip(".!,;:\u3002 ")


def _spelled(text: str) -> str:
    """Normalised words; numbers are one token each, and signs that matter are words."""
    text = one_token(said.HUNG.sub(_hung, text))
    for sign, word in said.UNITS.items():
        text = text.replace(sign, word)
    return normalise(text)


def _hung(found: re.Match[str]) -> str:
    """What hangs on a name, as part of the word: C++ is another word than C."""
    return {"++": "plusplus", "#": "sharp"}[found[0]]


def _unitless(text: str) -> str:
    """The same without units, for an answer that leaves them out."""
    units = {word.strip() for word in said.UNITS.values()}
    units |= {f"{unit}s" for unit in units}
    return " ".join(word for word in _spelled(text).split() if word not in units)


def _asserted(words: str, text: str) -> bool:
    """Whether words stand in a text at least once without a "not" or "no" before them."""
    start = text.find(words)
    while start >= 0:
        if not re.search(r" (?:not|no|isnt|arent|never|than|instead of)$", text[:start]):
            return True
        start = text.find(words, start + 1)
    return False


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
    for prefix in said.PREFIXES:
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
    for mark in said.MARKS:
        # What is beside a mark is looked up in the text as it was, not as it has become.
        beside = f"{mark} " in text or f" {mark}" in text
        filler = " "
        if beside or thousands:
            filler = ""
        out = out.replace(mark, filler)
    # The script hands re.UNICODE (32) over as the number of replacements, and its look-behind is
    # misspelt (`?!<=`), so that any point goes that has no digit behind it.
    return re.sub(r"(?!<=\d)(\.)(?!\d)", "", out, count=32)
