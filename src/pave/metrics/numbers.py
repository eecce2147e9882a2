"""Numbers in answers, each brought to one token, so that "two" is "2" and not in "twenty-two"."""

from __future__ import annotations

import re
import unicodedata

_UNDER_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS_FROM_TWENTY = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_UNDER_TWENTY.split())}
_TENS = {word: 10 * value for value, word in enumerate(_TENS_FROM_TWENTY.split(), 2)}
_SCALES = {"hundred": 100, "dozen": 12, "thousand": 1000, "million": 10**6, "billion": 10**9}
_WORD = "|".join((*_SMALL, *_TENS, *_SCALES))
# "a hundred and five", "twenty-one", "two point five", "minus one", "one half".
_JOINED = r"(?:\s*-\s*|\s+|\s+and\s+)"
_IN_WORDS = re.compile(
    rf"\b(?P<sign>(?:minus|negative)\s+)?(?:an?\s+(?=hundred|dozen|thousand|million|billion))?"
    rf"(?P<whole>(?:{_WORD})(?:{_JOINED}(?:{_WORD}))*)\b"
    rf"(?P<point>\s+point(?:\s+(?:{_WORD}))+\b)?"
    r"(?P<part>(?:\s+and\s+(?:a|one))?[\s-]+(?:half|halves|thirds?|quarters?)\b)?"
)
# 1, 1,000, 2.5, 1/2, 10:30; the sign belongs to a number only where no word stands before it.
_IN_DIGITS = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212](?=\d))?(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
    r"(?P<rest>(?:[.,:/]\d+)*)(?P<open>\+(?!\w))?"
)
_SIGNS = {"+": "plus", "-": "minus", "\u2212": "minus"}
# "no one" counts nobody: the "one" in it is no number.
_NOBODY = re.compile(r"\bno[\s-]one\b")


def one_token(text: str) -> str:
    """The text in small letters, with every number as one token.

    A whole number becomes its digits, anything else (2.5, 1/2, -1, 10+) a token that holds letters,
    so that no part of it passes for a number of its own.

    Example:
        >>> one_token("Twenty-one dogs, 1,000 cats"), one_token("1.5 or two")
        ('21 dogs, 1000 cats', '1point5 or 2')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = _NOBODY.sub("no", folded)
    return _IN_DIGITS.sub(_digits, _IN_WORDS.sub(_words, folded))


def _digits(found: re.Match[str]) -> str:
    """The token of a number in digits."""
    token = found["whole"].replace(",", "").lstrip("0") or "0"
    rest = found["rest"]
    # 2.0 is 2; 2.50 is 2.5.
    if re.fullmatch(r"\.\d+", rest):
        rest = rest.rstrip("0").rstrip(".")
    for sign, word in ((".", "point"), (",", "comma"), (":", "to"), ("/", "over")):
        rest = rest.replace(sign, word)
    token += rest
    if found["open"]:
        token += "plus"
    if found["sign"]:
        token = _SIGNS[found["sign"]] + token
    return token


def _words(found: re.Match[str]) -> str:
    """The tokens of a run of number words: "two three" are two numbers, "twenty one" is one."""
    runs = _values(re.findall(r"[a-z]+", found["whole"]))
    tokens = list(map(str, runs))
    if found["point"]:
        after = _values(found["point"].split()[1:])
        tokens[-1] += "point" + "".join(map(str, after))
    if found["part"]:
        tokens[-1] += "and" + found["part"].split()[-1].strip("-")
    if found["sign"]:
        tokens[0] = f"minus{tokens[0]}"
    return " ".join(tokens)


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
