"""Numbers in answers, each brought to one token, so that "two" is "2" and not in "twenty-two"."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_UNDER_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS_FROM_TWENTY = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_UNDER_TWENTY.split())}
_TENS = {word: 10 * value for value, word in enumerate(_TENS_FROM_TWENTY.split(), 2)}
_SCALES = {"hundred": 100, "dozen": 12, "thousand": 1000, "million": 10**6, "billion": 10**9}
_WORD = "|".join((*_SMALL, *_TENS, *_SCALES))
_SCALE = "|".join(_SCALES)
# "Two thirds"; the names of parts are those of places, too: "the third".
_PLACES = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_PLACE = {word: value for value, word in enumerate(_PLACES.split(), 1)}
_PARTS = {**_PLACE, "half": 2, "halve": 2, "quarter": 4, "hundredth": 100, "thousandth": 1000}
del _PARTS["first"], _PARTS["second"]
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
_PART = "|".join(_PARTS)
# "a hundred and five", "twenty-one", "two point five", "minus one".
_DASH = r"[-\u2010-\u2013]"
_JOINED = rf"(?:\s*{_DASH}\s*|\s+|\s+and\s+)"
_SPACE = rf"(?:\s+|{_DASH})"
# "two and a half", "two thirds".
_FRACTION = (
    rf"(?P<mixed>{_SPACE}and{_SPACE}(?P<some>an?|{_WORD}))?"
    rf"{_SPACE}(?:of\s+an?\s+)?(?P<part>{_PART})s?\b"
)
_SIGN = r"(?P<sign>(?:minus|negative)\s+)?"
_IN_WORDS = re.compile(
    rf"\b{_SIGN}(?:an?\s+(?=hundred|dozen|thousand|million|billion))?"
    rf"(?P<whole>(?:{_WORD})(?:{_JOINED}(?:{_WORD}))*)\b"
    rf"(?P<point>\s+point(?:\s+(?:{_WORD}))+\b|{_DASH}(?P<place>{'|'.join(_PLACE)})\b)?"
    rf"(?:{_FRACTION})?"
)
# "2 million", "1.5 million".
_SCALED = re.compile(rf"(?<![\w.])(?P<number>\d+(?:\.\d+)?)\s+(?P<scale>{_SCALE})\b")
# 1, 1,000, 2.5, 1/2, 2 1/2, 10:30; the sign belongs to a number only where no word
# stands before it.
_IN_DIGITS = re.compile(
    rf"(?<![\w.])(?:{_SIGN}|(?P<mark>[-+\u2212\u2013](?=\.?\d)))"
    r"(?P<whole>\d{1,3}(?:[,'\u2019]\d{3})+(?!\d)|\d{1,3}(?: 000)+(?!\d)"
    r"|\d+(?:st|nd|rd|th)?|(?=\.\d))"
    r"(?P<rest>(?:[.,:/]\d+)*)(?P<open>\+(?!\w))?"
    rf"(?:\s+(?:and\s+)?(?P<over>\d+/\d+)(?![\d/])|{_FRACTION})?"
)
_SIGNS = {"+": "plus", "-": "minus", "\u2212": "minus", "\u2013": "minus"}
# "no one" counts nobody: the "one" in it is no number.
_NOBODY = re.compile(r"\bno[\s-]one\b")
# "a pair of", "half a dozen", "a single", "half": what says a number without a number's word.
_PHRASES = (
    (re.compile(r"\ba\s+(?:pair|couple)\s+of\b"), "two"),
    (re.compile(r"\bhalf\s+a\s+dozen\b"), "six"),
    (re.compile(r"^half$"), "one half"),
    (re.compile(r"\ba\s+single\b"), "one"),
    (re.compile(r"\b(?<!and )a\s+(half|third|quarter)\b(?=\s*(?:$|[.,;!]|of\b))"), r"one \1"),
)
_PLACED = re.compile(rf"\b(?:{'|'.join(_PLACE)})\b")
# Unicode's fractions hang on the number before them.
_VULGAR = re.compile(r"(\d?)([\u00bc-\u00be\u2150-\u215e])")


def one_token(text: str) -> str:
    """The text in small letters, with every number as one token.

    A whole number becomes its digits, anything else (2.5, 1/2, -1, 10+, third) a token that holds
    letters, so that no part of it passes for a number of its own.

    Example:
        >>> one_token("Twenty-one dogs, 1,000 cats"), one_token("1.5 or two")
        ('21 dogs, 1000 cats', '1point5 or 2')
        >>> one_token("two and a half, 2 1/2"), one_token("half a dozen")
        ('2and1over2, 2and1over2', '6')
    """
    apart = _VULGAR.sub(r"\1 \2", text)
    folded = unicodedata.normalize("NFKC", apart).casefold().replace("\u2044", "/").strip()
    folded = _NOBODY.sub("no", folded)
    for pattern, words in _PHRASES:
        folded = pattern.sub(words, folded)
    folded = _SCALED.sub(_times, folded)
    counted = _IN_DIGITS.sub(_digits, _IN_WORDS.sub(_words, folded))
    return _PLACED.sub(_placed, counted)


def _digits(found: re.Match[str]) -> str:
    """The token of a number in digits."""
    token = re.sub(r"[,'\u2019 ]", "", found["whole"]).lstrip("0") or "0"
    rest = found["rest"]
    # 2.0 is 2; 2.50 is 2.5.
    if re.fullmatch(r"\.\d+", rest):
        rest = rest.rstrip("0").rstrip(".")
    for sign, word in ((".", "point"), (",", "comma"), (":", "to"), ("/", "over")):
        rest = rest.replace(sign, word)
    token += rest
    if found["open"]:
        token += "plus"
    if found["over"]:
        token += f"and{found['over'].replace('/', 'over')}"
    return _signed(found, token + _fraction(found))


def _words(found: re.Match[str]) -> str:
    """The tokens of a run of number words: "two three" are two numbers, "twenty one" is one."""
    runs = _values(re.findall(r"[a-z]+", found["whole"]))
    tokens = list(map(str, runs))
    if found["place"]:
        tokens[-1] = _nth(runs[-1] + _PLACE[found["place"]])
    elif found["point"]:
        after = _values(found["point"].split()[1:])
        tokens[-1] += "point" + "".join(map(str, after))
    tokens[-1] += _fraction(found)
    tokens[0] = _signed(found, tokens[0])
    return " ".join(tokens)


def _signed(found: re.Match[str], token: str) -> str:
    """The token with its sign, which may be a word."""
    mark = found.groupdict().get("mark")
    if mark:
        return _SIGNS[mark] + token
    if found["sign"]:
        return f"minus{token}"
    return token


def _fraction(found: re.Match[str]) -> str:
    """The end of a token for "thirds" and "and a half": "over3", "and1over2"."""
    if not found["part"]:
        return ""
    below = _PARTS[found["part"]]
    if not found["mixed"]:
        return f"over{below}"
    above = 1
    if not found["some"].startswith("a"):
        above = _values([found["some"]])[0]
    return f"and{above}over{below}"


def _times(found: re.Match[str]) -> str:
    """Digits times a scale: 1.5 million is 1500000."""
    exact = Decimal(found["number"]) * _SCALES[found["scale"]]
    return f"{exact:f}"


def _placed(found: re.Match[str]) -> str:
    return _nth(_PLACE[found[0]])


def _nth(place: int) -> str:
    """The token of a place: "3rd"."""
    teens = 10 < place % 100 < 20
    if teens:
        return f"{place}th"
    return f"{place}{_ENDINGS.get(place % 10, 'th')}"


def _values(words: list[str]) -> list[int]:
    """The numbers that a run of words says."""
    found: list[int] = []
    total, last = 0, 0  # what is said so far, and the size of the last word
    started = False
    for word in words:
        if word == "and":
            continue
        if word in _SCALES:
            last = _SCALES[word]
            total = _scaled(total, last)
        else:
            value = _SMALL.get(word, _TENS.get(word, 0))
            # A unit after a ten, anything below a hundred after a hundred or more.
            fits = (last in _TENS.values() and 0 < value < 10) or last >= 100 > value
            if started and not fits:
                found.append(total)
                total = 0
            total += value
            last = value
        started = True
    return [*found, total]


def _scaled(total: int, scale: int) -> int:
    """What is said, times a hundred or more; "a hundred" is one of them."""
    if scale > 100:
        return max(total, 1) * scale
    # "five thousand two hundred": only what stands below a thousand is multiplied.
    high, low = divmod(total, 1000)
    return high * 1000 + max(low, 1) * scale
