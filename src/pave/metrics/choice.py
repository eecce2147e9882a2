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

from pave.metrics.exact import normalise
from pave.metrics.final_text import final_text
from pave.metrics.numbers import one_token

# No letter or digit beside it; \b would see none between a letter and Chinese.
_LEFT, _RIGHT = r"(?<![A-Za-z0-9\u00c0-\u04ff'])", r"(?![A-Za-z0-9\u00c0-\u04ff])"
_OPEN, _SHUT = r"[(\[{<\"'\u201c\u2018*\u3010\u300c]", r"[)\]}>\"'\u201d\u2019*\u3011\u300d]"
# "(B)", "B", "b"; what follows decides whether it is a letter or a word.
_LETTER = re.compile(rf"({_OPEN}*)\s*([A-Za-z])(?![A-Za-z0-9\u00c0-\u04ff])\s*({_SHUT}*)")
# A letter is stated where its clause ends, or goes on with a reason.
_CLAUSE_END = re.compile(
    r"\s*(?:$|[.!,;:)\]}\"\u060c\u0964]|\.\.\.|[-\u2013\u2014]+\s|\n"
    r"|(?:because|since|as|for|so|due|given|which|who|where|with|but|instead|rather|not|then|here"
    r"|in\s+this|based|according|is\s+(?:the\s+)?(?:correct|right|best|answer))\b"
    # Chinese, Japanese and Korean have no article that a letter could be.
    r"|[\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7af])",
    re.IGNORECASE,
)
_NOUN = (
    r"(?:(?:final|correct|right|best|most\s+likely|my)\s+)?"
    r"(?:answers?|ans|solution|choice|option|prediction)"
)
# Answers in other languages, up to their "is" or colon.
_FOREIGN = (
    r"Antwort(?:\s+lautet)?|r\u00e9ponse|respuesta|risposta|resposta|antwoord|svar(?:et)?|cevap|"
    r"odpowied\u017a|jawaban|\u0111\u00e1p\s+\u00e1n|\u043e\u0442\u0432\u0435\u0442|"
    r"\u0909\u0924\u094d\u0924\u0930|\u7b54\u6848|\u7b54\u3048|\u6b63\u89e3|\uc815\ub2f5|"
    r"\ub2f5|\u0627\u0644\u0625\u062c\u0627\u0628\u0629|\u0627\u0644\u062c\u0648\u0627\u0628"
)
_IS = (
    r"(?:is|was|are|be|est|es|ist|\u00e8|\u00e9|e|\u00e4r|jest|adalah|l\u00e0|\u662f|\u4e3a|"
    r"\u306f|\uc740|\ub294|[:=\u2192>\u2013\u2014-]|=>)"
)
# Openings after which an answer is stated: "The correct answer to it is", "I choose", "\u9009".
_STATED = re.compile(
    rf"{_LEFT}{_NOUN}\b(?:\s+(?:choice|option))?(?:['\u2019]s|(?:[^.:;!?\n]{{0,60}}?"
    rf"(?:\b(?:is|was|are|be)\b|[:=\u2192]|\s[-\u2013\u2014]\s))|(?=\s*[(\[A-Za-z]))"
    rf"|(?:{_FOREIGN})[^.:;!?\n]{{0,30}}?(?<!\w){_IS}|(?:{_FOREIGN})\s*{_IS}"
    r"|\b(?:I(?:['\u2019](?:d|ll|m))?|we|would|will|should|must|let['\u2019]?s)\s+(?:\w+\s+){0,3}?"
    r"(?:choos(?:e|ing)|pick(?:ing)?|select(?:ing)?|go(?:ing)?\s+(?:with|for)|say|answer|opt\s+for)\b"
    r"|^\s*(?:choose|select|pick)\b|\u9009\u62e9?|\u9078\u629e?",
    re.IGNORECASE | re.MULTILINE,
)
# Openings that only a letter may follow: "it must be B", "no, wait, B", "actually B".
_TURN = r"no|nope|wait|actually|rather|sorry|correction|but|instead|hmm+|I\s+mean|scratch\s+that"
_POINTED = re.compile(
    rf"\b(?:it|this|that)(?:['\u2019]s|\s+(?:is|must\s+be|has\s+to\s+be|should\s+be))"
    rf"|\b(?:{_TURN})\b[\s,.:!\u2026-]*(?:(?:{_TURN})\b[\s,.:!\u2026-]*)*"
    r"(?:(?:it|that)(?:['\u2019]s|\s+(?:is|must\s+be|should\s+be)))?",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:[\s:=>\u2192]+|[-\u2013\u2014]+\s|(?:the|letter|option|choice|answer|definitely|clearly|likely|probably"
    r"|most|therefore|thus|then|indeed|actually|certainly|is|be|that|correct|it|number)\b"
    r"|\u9009\u9879|\u9078\u629e\u80a2)+",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b(?:option|choice|letter)\s*[:=]?\s*$", re.IGNORECASE)
# "B is the correct answer", "Option B (a dog) is right", "B\u662f\u6b63\u786e\u7684".
_PRAISED = re.compile(
    rf"{_LEFT}{_OPEN}?([A-Za-z]){_RIGHT}{_SHUT}*(?:\s*[,(:][^,.()\n]{{0,60}}[,)])?\s*"
    r"(?:(?:is|was|seems|must\s+be|appears\s+to\s+be)\s+(?:clearly\s+|indeed\s+|therefore\s+)?"
    r"(?:the\s+|my\s+)?(?:most\s+|only\s+)?(?:correct|right|best|accurate|appropriate|suitable|true"
    r"|final|likely)?\s*(?:answer|option|choice|one|correct|right|true)\b(?!\s+(?:only|if|side|hand))"
    r"|\u662f?(?:\u6b63\u786e|\u5bf9)\u7684?)",
    re.IGNORECASE,
)
# Said of a letter that it is not meant, before it and behind it.
_NOT_BEFORE = re.compile(
    r"(?:\b(?:not|neither|nor|never|without|unlike|than|instead\s+of|exclud\w+|eliminat\w+"
    r"|rul\w+\s+out|reject\w*|discard\w*)|n['\u2019]t(?:\s+be)?|\u4e0d(?:\u662f|\u9009)|"
    r"\u6392\u9664)\s*(?:the\s+)?(?:options?|choices?|answers?|letter)?\s*[(\[\"'*]*$",
    re.IGNORECASE,
)
_NOT_BEHIND = re.compile(
    rf"{_SHUT}*(?:\s*[,(:][^,.()\n]{{0,60}}[,)])?\s*(?:(?:is|are|was|can|could|would|does|do|seems|"
    r"must|be|also|clearly|definitely|therefore|both)\s*)*"
    r"(?:n['\u2019]t|not|cannot|isn|incorrect|wrong|false|ruled\s+out|eliminated|excluded"
    r"|unlikely|implausible|inaccurate|out\b|\u4e0d|\u9519)",
    re.IGNORECASE,
)
# Said before a statement that it is doubted or only thought of.
_DOUBT = re.compile(
    r"(?:n['\u2019]t|\bnot|\bnever|\bwhether|\bif|\bdoubt|\b(?:may|might|could|would)\s+"
    r"(?:say|think|argue|assume|believe)|\bsome\s+(?:say|think))\b[^.;,:\n]{0,60}$"
    r"|\b(?:other|another|wrong|incorrect)\s+$",
    re.IGNORECASE,
)
# Within an opening: "I did not choose", "the answer cannot be".
_DENIAL = re.compile(r"\b(?:not|cannot|never)\b|n['\u2019]t\b", re.IGNORECASE)
_EXCEPT = re.compile(
    r"\b(?:except|all\s+but|other\s+than)\s+(?:for\s+)?(?:options?\s+)?[(\[\"'*]*$", re.IGNORECASE
)
_NEAR = 100  # characters
_SENTENCE_END = re.compile(r"[.;!?](?:\s|$)|\n|,\s*(?:not|but)\b")
_OWNED = re.compile(r"['\u2019]\w")
_OR = re.compile(
    rf"\s*(?:,?\s*(?:or|and|und|oder|ou|et|y|o)\s+|[/&|]\s*|,\s*(?=[A-Z]\s*(?:$|[.,])))"
    rf"(?:option\s+)?{_OPEN}*([A-Z]){_RIGHT}",
    re.IGNORECASE,
)
# A capital standing alone anywhere, but for A and I, which are words.
_STANDING = re.compile(rf"{_LEFT}([B-HJ-Z]){_RIGHT}(?!['\u2019]s)")
_MENTION = re.compile(r"\b(?:option|choice)\s+[(\[\"']*([A-Za-z])(?![A-Za-z0-9'\u2019])", re.I)
# "B. a dog", "(b) a dog", "[B]", "B because", "B, since": a letter that opens an answer.
_MARKED = re.compile(
    r"\s*[\"'*]*(?:\(([A-Za-z])\)|\[([A-Za-z])\]|\(?([A-Za-z])(?:[):\]\u3001]|\.(?![A-Za-z]\.)(?=[A-Z\s]|$)"
    r"|\s*$|\s+[-\u2013\u2014]+\s|,?\s+(?:because|since|as|is\s+(?:the\s+)?(?:correct|right))\b))"
)
# "B, the dog"; a small "a," opens a sentence.
_COMMA = re.compile(r"\s*([A-Z])\s*[,;\uff0c]")
_LIST_ITEM = re.compile(r"^\s*[-*]?\s*\(?([A-Za-z])[.):]\s", re.MULTILINE)
# A line with nothing but a letter and marks around it.
_LINE = re.compile(rf"^\s*{_OPEN}*\s*([A-Za-z])\s*{_SHUT}*[\s.:,!\u3002]*{_SHUT}*$", re.MULTILINE)
_JSON = re.compile(
    r"[\"'](?:final_|correct_|predicted_)?(?:answer|choice|option|letter|prediction)[\"']\s*:\s*"
    r"(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z])\b)",
    re.IGNORECASE,
)
# How an option itself may begin in a file of annotations: "A. ", "(A) ".
_MARK = re.compile(r"^\s*\(?[A-Z][.)]\s*")
# Signs that tell options apart and are no words: money, per cent, C++ and C#.
_UNITS = {"$": " dollar ", "\u20ac": " euro ", "\u00a3": " pound ", "%": " percent "}
_UNITS |= {"\u00b0": " degree "}
_HUNG = re.compile(r"(?<=\w)(\+\+|#)")

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
            self.options[letter] = _MARK.sub("", option).strip()

    def letter(self, answer: str) -> str:
        """The letter of the stated option, or ""."""
        text = final_text(answer)
        given = _JSON.findall(text)
        if given:
            # The last one; exactly one of the pattern's alternatives has caught something.
            text = "".join(given[-1])
        alone = _LINE.fullmatch(text)
        if alone and alone[1].upper() in self.letters:
            return alone[1].upper()
        equal = self._equal(text)
        if equal:
            return equal
        stated = sorted(self._statements(text))
        if stated:
            return stated[-1].letter
        return self._leading(text) or self._by_words(text) or self._mentioned(text)

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
        for found in _STATED.finditer(text):
            if not _doubted(text, found.start()) and not _DENIAL.search(found[0]):
                yield from self._after(text, found.end(), words=True)
        for found in _POINTED.finditer(text):
            if not _doubted(text, found.start()):
                turn = not re.match(r"it|this|that", found[0], re.IGNORECASE)
                yield from self._after(text, found.end(), words=turn, inside=False)
        for found in _PRAISED.finditer(text):
            letter = found[1].upper()
            # "a is the right ..." is no English; "A" and "I" in small letters are words.
            named = bool(_NAMED.search(_before(text, found.start()))) or found[0][0] in "(["
            if letter not in self.letters or (found[1] == "a" and not named):
                continue
            if not _doubted(text, found.start()) and not _NOT_BEFORE.search(
                _before(text, found.start())
            ):
                yield _Stated(True, found.start(), letter)
        for found in _LINE.finditer(text):
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
        filler = _FILLER.match(text, start)
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
            end = _SENTENCE_END.search(text, begin)
            clause = text[begin:]
            if end is not None:
                clause = text[begin : end.start()]
            named = self._leading_words(clause)
            if not named and inside:
                named = self._by_words(clause)
            if named:
                yield _Stated(inside, begin, named)

    def _letter_at(self, text: str, begin: int) -> str | None:
        """The letter stated at a place, "" for none, None where it is one of several."""
        found = _LETTER.match(text, begin)
        if found is None or found[2].upper() not in self.letters:
            return ""
        if _OWNED.match(text, found.end(2)):
            return ""  # A's
        letter, end = found[2].upper(), found.end()
        behind = text[end : end + _NEAR]
        if (behind[:1] in {"+", "#", "-", "?"} and not found[3]) or _NOT_BEHIND.match(behind):
            return ""  # C++, a question, "A is wrong"
        if self._one_of_several(letter, behind):
            return None
        marked = bool(found[1]) and bool(found[3])
        if marked or self._ends(letter, found[2], behind):
            return letter
        # "option A dog": after that word no article can stand.
        named = found[2] == "A" and _NAMED.search(_before(text, begin))
        return letter * bool(named)

    def _one_of_several(self, letter: str, behind: str) -> bool:
        """Whether "or B" and no more of a clause stands behind a letter."""
        other = _OR.match(behind)
        if other is None or other[1].upper() not in self.letters.replace(letter, ""):
            return False
        return _CLAUSE_END.match(behind, other.end()) is not None

    def _ends(self, letter: str, written: str, behind: str) -> bool:
        """Whether what stands behind a letter lets it be one, and not the first word of a text."""
        if _CLAUSE_END.match(behind) or self._own_words(letter, behind):
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
        items = [letter.upper() for letter in _LIST_ITEM.findall(text)]
        listed = items[:2] == ["A", "B"]
        for pattern in (_MARKED, _COMMA):
            found = pattern.match(text)
            if found is None or listed:
                continue
            letter = "".join(group or "" for group in found.groups()).upper()
            behind = text[found.end() :]
            denied = _NOT_BEHIND.match(behind) or _OR.match(text[found.end(found.lastindex or 0) :])
            if letter in self.letters and not denied:
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
        kept, denied = [], set()
        for pattern in (_STANDING, _MENTION):
            for found in pattern.finditer(text):
                letter, start, end = found[1].upper(), found.start(1), found.end(1)
                if letter not in self.letters:
                    continue
                if text[end : end + 1] and text[end] in "+#":
                    continue
                if _EXCEPT.search(_before(text, start)):
                    kept.append(letter)
                elif _NOT_BEFORE.search(_before(text, start)) or _NOT_BEHIND.match(text, end):
                    denied.add(letter)
                else:
                    kept.append(letter)
        return _only([letter for letter in kept if letter not in denied])


def _before(text: str, place: int) -> str:
    """What stands near before a place: patterns that end there need not search a whole essay."""
    return text[max(0, place - _NEAR) : place]


def _doubted(text: str, place: int) -> bool:
    """Whether what stands before a place takes it back or only thinks of it."""
    return _DOUBT.search(_before(text, place)) is not None


def _as_is(text: str) -> str:
    """A text in its composed form, without space around it."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _bare(text: str) -> str:
    """The same in small letters, without quotes around it and marks at its end."""
    return _as_is(text).casefold().strip("\"'\u201c\u201d\u2018\u2019*` ").rstrip(".!,;:\u3002 ")


def _spelled(text: str) -> str:
    """Normalised words; numbers are one token each, and signs that matter are words."""
    text = one_token(_HUNG.sub(_hung, text))
    for sign, word in _UNITS.items():
        text = text.replace(sign, word)
    return normalise(text)


def _hung(found: re.Match[str]) -> str:
    """What hangs on a name, as part of the word: C++ is another word than C."""
    return {"++": "plusplus", "#": "sharp"}[found[0]]


def _unitless(text: str) -> str:
    """The same without units, for an answer that leaves them out."""
    units = {word.strip() for word in _UNITS.values()}
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
