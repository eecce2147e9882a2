"""Which option of a multiple-choice question an answer states: a careful reading, for all tasks.

Letters are read here, by the patterns of `pave.metrics.choice_patterns`; the words of options in
`pave.metrics.option_words`. The scripts of the benchmarks are in `pave.metrics.choice_scripts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import NamedTuple

from pave.metrics import choice_patterns as said
from pave.metrics.choice_languages import in_english
from pave.metrics.choice_names import options_as_letters, places_as_letters
from pave.metrics.final_text import final_text
from pave.metrics.option_words import OptionWords, bare, only


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
        self.words = OptionWords(options)

    def letter(self, answer: str) -> str:
        """The letter of the stated option, or ""; the first rule that applies decides."""
        text = final_text(answer)
        given = said.JSON.findall(text)
        if given:
            # The last one; exactly one of the pattern's alternatives has caught something.
            text = "".join(given[-1])
        alone = said.LINE.fullmatch(text)
        if alone and self._is_letter(alone[1]):
            return alone[1].upper()
        equal = self.words.equal(text)
        if equal:
            return equal
        if said.NO_ANSWER.fullmatch(text) or self._only_letters(text):
            return ""
        words = text
        text = self._by_letters(text)
        stated = sorted(self._statements(text))
        if stated:
            last = stated[-1]
            if self._among_several(text, last.place):
                return ""
            return last.letter
        return self._leading(text) or self.words.held(words) or self._mentioned(text)

    def _by_letters(self, text: str) -> str:
        """The text with options named by their letters, and what is said of letters in English."""
        if not self.letters:
            return text
        text = options_as_letters(text, self.words.texts)
        if not self.words.count_something:
            text = places_as_letters(text, self.letters)
        return in_english(text)

    def _only_letters(self, text: str) -> bool:
        """Whether a text is a list of several letters and nothing else: "A;B", "(A)(B)"."""
        if said.LETTERS.fullmatch(text) is None:
            return False
        named = set(re.findall(r"[A-Z]", text))
        return len(named) > 1 and named <= set(self.letters)

    def _is_letter(self, written: str) -> bool:
        """Whether a letter names an option."""
        return written.upper() in self.letters

    # What is stated, and where.

    def _statements(self, text: str) -> Iterator[_Stated]:
        """All that is stated, in no order."""
        yield from self._after_openings(text)
        yield from self._after_turns(text)
        yield from self._praised(text)
        yield from self._judged(text)
        asked = said.ASKED.search(text)
        if asked and self._is_letter(asked[1]):
            yield _Stated(True, asked.start(1), asked[1].upper())
        for line in said.LINE.finditer(text):
            if self._is_letter(line[1]):
                yield _Stated(True, line.start(1), line[1].upper())

    def _after_openings(self, text: str) -> Iterator[_Stated]:
        """After "the answer is", "I choose" and their kin."""
        for opening in said.STATED.finditer(text):
            denied = said.DENIAL.search(opening[0])
            if denied or _doubted(text, opening.start()):
                continue
            letters = list(self._letter_after(text, opening.end()))
            yield from letters or self._words_after(text, opening.end())

    def _after_turns(self, text: str) -> Iterator[_Stated]:
        """After "no, wait", "actually" or "it is", where only the first words of a clause count."""
        for turn in said.POINTED.finditer(text):
            if _doubted(text, turn.start()):
                continue
            letters = list(self._letter_after(text, turn.end()))
            yield from letters
            # "It is a dog" describes what is seen.
            describes = said.POINTER.match(turn[0])
            if not letters and not describes:
                yield from self._words_after(text, turn.end(), inside=False)

    def _praised(self, text: str) -> Iterator[_Stated]:
        """In front of "is correct" and its kin."""
        for praise in said.PRAISED.finditer(text):
            before = _before(text, praise.start())
            # "a is the right ..." is no English; "A" and "I" in small letters are words.
            named = said.NAMED.search(before) or praise[0][0] in "(["
            if not self._is_letter(praise[1]) or (praise[1] == "a" and not named):
                continue
            if _doubted(text, praise.start()) or said.NOT_BEFORE.search(before):
                continue
            yield _Stated(True, praise.start(), praise[1].upper())

    def _judged(self, text: str) -> Iterator[_Stated]:
        """In a list of verdicts: "A: wrong", "B: right"."""
        for verdict in said.VERDICT.finditer(text):
            # Of options "true" and "false" it is the list of options itself.
            if self._is_letter(verdict[1]) and not self.words.same(verdict[2]):
                yield _Stated(True, verdict.start(1), verdict[1])

    def _letter_after(self, text: str, start: int) -> Iterator[_Stated]:
        """The letter that stands after an opening, if one does."""
        begin = _behind_filler(text, start)
        # "the answer is B", but not the "b" of "the answerb"; Chinese needs no space.
        before = text[begin - 1 : begin]
        if before.isascii() and before.isalnum():
            return
        letter = self._letter_at(text, begin)
        if letter != "":
            yield _Stated(True, begin, letter or "")

    def _words_after(self, text: str, start: int, *, inside: bool = True) -> Iterator[_Stated]:
        """The words of an option that stand after an opening.

        Args:
            text: The answer.
            start: Where the opening ends.
            inside: Whether they may stand anywhere in the clause, not only at its start.
        """
        begin = _behind_filler(text, start)
        end = said.SENTENCE_END.search(text, begin)
        clause = text[begin:]
        if end is not None:
            clause = text[begin : end.start()]
        named = self.words.opening(clause)
        if named and self.words.several(clause):
            yield _Stated(True, begin, "")
            return
        if not named and inside:
            named = self.words.held(clause)
        if named:
            yield _Stated(inside, begin, named)

    # One letter, and what stands around it.

    def _letter_at(self, text: str, begin: int) -> str | None:
        """The letter stated at a place, "" for none, None where it is one of several."""
        found = said.LETTER.match(text, begin)
        if found is None or not self._is_letter(found[2]):
            return ""
        if said.OWNED.match(text, found.end(2)):
            return ""  # A's
        letter = found[2].upper()
        behind = text[found.end() : found.end() + said.NEAR]
        hangs = behind[:1] in {"+", "#", "-", "?"} and not found[3]
        if hangs or said.NOT_BEHIND.match(behind):
            return ""  # C++, a question, "A is wrong"
        if self._one_of_several(letter, behind):
            return None
        in_brackets = found[1] and found[3]
        # "option A dog": after that word no article can stand.
        named = found[2] == "A" and said.NAMED.search(_before(text, begin))
        if in_brackets or named or self._ends(letter, found[2], behind):
            return letter
        return ""

    def _one_of_several(self, letter: str, behind: str) -> bool:
        """Whether "or B" and no more of a clause stands behind a letter."""
        other = said.OR.match(behind)
        if other is None or not self._is_letter(other[1]) or other[1].upper() == letter:
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
        option = self.words.texts.get(letter, "")
        if not option:
            return False
        if letter == "A" and said.ARTICLE.match(option) is None:
            return False  # "A dog" is an article and its word
        return bare(text).startswith(bare(option))

    def _among_several(self, text: str, place: int) -> bool:
        """Whether a statement there names one of several: "option A as well as option B"."""
        for group in said.SEVERAL.finditer(text):
            if not group.start() <= place < group.end():
                continue
            behind = text[group.end() : group.end() + said.NEAR]
            if said.NOT_BEHIND.match(behind):
                continue  # "B, A and C are wrong"
            named = re.findall(r"\b[A-Z]\b", group[0])
            different = {letter for letter in named if letter in self.letters}
            ends = said.CLAUSE_END.match(behind) or said.ALL.match(behind)
            # "of A and C, C is the best": what comes twice is chosen from the others.
            if ends and len(different) == len(named):
                return True
        return False

    # Where nothing is stated.

    def _leading(self, text: str) -> str:
        """The letter or the option that opens the answer, unless it opens a list of options."""
        items = [letter.upper() for letter in said.LIST_ITEM.findall(text)]
        if items[:2] != ["A", "B"]:
            for pattern in (said.MARKED, said.COMMA):
                found = pattern.match(text)
                if found is not None and self._opens(text, found):
                    return found[found.lastindex or 0].upper()
        clause = said.CLAUSE.split(text, maxsplit=1)[0]
        return self.words.equal(clause) or self.words.same(clause)

    def _opens(self, text: str, found: re.Match[str]) -> bool:
        """Whether a letter that opens an answer is its statement."""
        letter = found.lastindex or 0  # the one group of the pattern that has caught something
        if not self._is_letter(found[letter]) or said.NOT_BEHIND.match(text[found.end() :]):
            return False
        rest = text[found.end(letter) :].lstrip(")]")
        other = said.OR.match(rest)
        if other is None:
            return True
        # "B and a dog": a small letter, or A, may be a word unless the clause ends with it.
        is_letter = other[1].isupper() and other[1] not in "AI"
        return not is_letter and said.CLAUSE_END.match(rest, other.end()) is None

    def _mentioned(self, text: str) -> str:
        """The one letter that is mentioned and not denied."""
        kept: set[str] = set()
        denied: set[str] = set()
        groups = list(said.SEVERAL.finditer(text))
        # What is chosen from, not what is chosen.
        offered = [group for group in groups if _is_offered(text, group.start())]
        for pattern in (said.STANDING, said.MENTION):
            for found in pattern.finditer(text):
                letter = found[1].upper()
                start, end = found.span(1)
                hangs = text[end : end + 1] in ("+", "#")
                if hangs or not self._is_letter(letter) or _only_offered(offered, start, letter):
                    continue
                excepted = said.EXCEPT.search(_before(text, start))
                if _denied(text, start, end) and not excepted:
                    denied.add(letter)
                else:
                    kept.add(letter)
        for group in groups:
            named = set(re.findall(r"\b[A-Z]\b", group[0]))
            if group in offered:
                continue
            if " nor " in group[0] or _denied(text, *group.span()):
                denied |= named
            else:
                # B to Z have been seen above, wherever they stand.
                kept |= named & {"A", "I"} & set(self.letters)
        return only(kept - denied)


def _behind_filler(text: str, start: int) -> int:
    """The place behind "the letter", "clearly" and other words that say nothing."""
    filler = said.FILLER.match(text, start)
    if filler is None:
        return start
    return filler.end()


def _before(text: str, place: int) -> str:
    """What stands near before a place: patterns that end there need not search a whole essay."""
    return text[max(0, place - said.NEAR) : place]


def _is_offered(text: str, place: int) -> bool:
    """Whether the letters that begin there are what is chosen from: "between A and B"."""
    return said.BETWEEN.search(_before(text, place)) is not None


def _only_offered(offered: Sequence[re.Match[str]], place: int, letter: str) -> bool:
    """Whether a letter stands there to be chosen from, and is not named again as the choice."""
    for group in offered:
        if group.start() <= place < group.end():
            return len(re.findall(rf"\b{letter}\b", group[0])) == 1
    return False


def _denied(text: str, start: int, end: int) -> bool:
    """Whether it is said of the letter there that it is not meant."""
    before = said.NOT_BEFORE.search(_before(text, start))
    return bool(before or said.NOT_BEHIND.match(text, end))


def _doubted(text: str, place: int) -> bool:
    """Whether what stands before a place takes it back or only thinks of it."""
    return said.DOUBT.search(_before(text, place)) is not None
