"""How answers state an option: the patterns that `pave.metrics.choice` reads them with.

Each stands for a way of saying it, with an example where that helps; what they mean together, and
which of several statements counts, is decided there.
"""

from __future__ import annotations

import re

# No letter or digit beside it; \b would see none between a letter and Chinese.
LEFT, RIGHT = r"(?<![A-Za-z0-9\u00c0-\u04ff'])", r"(?![A-Za-z0-9\u00c0-\u04ff])"
OPEN, SHUT = r"[(\[{<\"'\u201c\u2018*\u3010\u300c]", r"[)\]}>\"'\u201d\u2019*\u3011\u300d]"
# "(B)", "B", "b"; what follows decides whether it is a letter or a word.
LETTER = re.compile(rf"({OPEN}*)\s*([A-Za-z])(?![A-Za-z0-9\u00c0-\u04ff])\s*({SHUT}*)")
# A letter is stated where its clause ends, or goes on with a reason.
CLAUSE_END = re.compile(
    r"\s*(?:$|[.!,;:)\]}\"\u060c\u0964]|\.\.\.|[-\u2013\u2014]+\s|\n"
    r"|(?:because|since|as|for|so|due|given|which|who|where|with|but|instead|rather|not|then|here"
    r"|in\s+this|based|according|is\s+(?:the\s+)?(?:correct|right|best|answer))\b"
    # Chinese, Japanese and Korean have no article that a letter could be.
    r"|[\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7af])",
    re.IGNORECASE,
)
NOUN = (
    r"(?:(?:final|correct|right|best|most\s+likely|my)\s+)?"
    r"(?:answers?|ans|solution|choice|option|prediction|pick)"
)
# Answers in other languages, up to their "is" or colon.
FOREIGN = (
    r"richtig|korrekt|Antwort(?:\s+lautet)?|r\u00e9ponse|respuesta|risposta|resposta|antwoord|svar(?:et)?|cevap|"
    r"odpowied\u017a|jawaban|\u0111\u00e1p\s+\u00e1n|\u043e\u0442\u0432\u0435\u0442|"
    r"\u0909\u0924\u094d\u0924\u0930|\u7b54\u6848|\u7b54\u3048|\u6b63\u89e3|\uc815\ub2f5|"
    r"\ub2f5|\u0627\u0644\u0625\u062c\u0627\u0628\u0629|\u0627\u0644\u062c\u0648\u0627\u0628"
)
IS = (
    r"(?:(?:is|was|are|be|est|es|ist|\u00e8|\u00e9|e|\u00e4r|jest|adalah|l\u00e0)"
    r"(?![A-Za-z\u00c0-\u04ff])|\u662f|\u4e3a|\u306f|\uc740|\ub294|[:=\u2192>\u2013\u2014-]|=>)"
)
# Openings after which an answer is stated: "The correct answer to it is", "I choose", "\u9009".
STATED = re.compile(
    rf"{LEFT}{NOUN}\b(?:\s+(?:choice|option))?(?:['\u2019]s|(?:[^.:;!?\n]{{0,60}}?"
    rf"(?:\b(?:is|was|are|be)\b|[:=\u2192]|\s[-\u2013\u2014]\s))|(?=\s*[(\[A-Za-z]))"
    rf"|\bans\.(?=\s*[(\[A-Za-z])"
    rf"|(?:{FOREIGN})[^.:;!?\n]{{0,30}}?(?<!\w){IS}|(?:{FOREIGN})\s*{IS}"
    rf"|(?:{FOREIGN})(?=\s+[(\[]*[A-Z]{RIGHT})"
    r"|\b(?:I(?:['\u2019](?:d|ll|m))?|we|would|will|should|must|let['\u2019]?s)\s+(?:\w+\s+){0,3}?"
    r"(?:choos(?:e|ing)|pick(?:ing)?|select(?:ing)?|go(?:ing)?\s+(?:with|for)|say|answer|opt\s+for|vote\s+for|conclude)\b"
    r"|^\s*(?:choose|select|pick)\b|\u9009\u62e9?|\u9078\u629e?",
    re.IGNORECASE | re.MULTILINE,
)
# Openings that only a letter may follow: "it must be B", "no, wait, B", "actually B".
# "No" turns round where a clause ends or begins with it; "no cat" only says what is not there.
TURN = (
    r"no(?=\s*[,.:!;\u2026-]|\s+(?:wait|actually|sorry|it|that)\b)|nope|wait|actually|rather|sorry|correction|but|instead|hmm+|I\s+mean|scratch\s+that"
    r"|(?:up)?on\s+(?:second\s+thoughts?|reflection)"
)
POINTED = re.compile(
    rf"\b(?:it|this|that)(?:['\u2019]s|\s+(?:is|must\s+be|has\s+to\s+be|should\s+be))"
    rf"|\b(?:{TURN})\b[\s,.:!\u2026-]*(?:(?:{TURN})\b[\s,.:!\u2026-]*)*"
    r"(?:(?:it|that)(?:['\u2019]s|\s+(?:is|must\s+be|should\s+be)))?"
    r"|\bI\s+(?:think|guess|believe|suppose)\b|\b(?:definitely|certainly|probably)\b|\bcorrect\s*:",
    re.IGNORECASE,
)
# Those that point at what is seen, or thought: "I think a dog barks".
POINTER = re.compile(r"it|this|that|I\b|definitely|certainly|probably|correct", re.IGNORECASE)
FILLER = re.compile(
    r"(?:[\s:=>\u2192]+|[-\u2013\u2014]+\s|(?:the|letter|option|choice|answer|definitely|clearly|likely|probably"
    r"|most|therefore|thus|then|indeed|actually|certainly|is|be|that|correct|it|number)\b"
    r"|\u9009\u9879|\u9078\u629e\u80a2)+",
    re.IGNORECASE,
)
NAMED = re.compile(r"\b(?:option|choice|letter)\s*[:=]?\s*$", re.IGNORECASE)
# "B is the correct answer", "Option B (a dog) is right", "B\u662f\u6b63\u786e\u7684".
PRAISED = re.compile(
    rf"{LEFT}{OPEN}?([A-Za-z]){RIGHT}{SHUT}*(?:\s*[,(:][^,.()\n]{{0,60}}[,)])?\s*"
    r"(?:(?:is|was|seems|must\s+be|appears\s+to\s+be)\s+(?:clearly\s+|indeed\s+|therefore\s+)?"
    r"(?:the\s+|my\s+)?(?:most\s+|only\s+)?(?:correct|right|best|accurate|appropriate|suitable|true"
    r"|final|likely)?\s*(?:answer|option|choice|one|correct|right|true)\b(?!\s+(?:only|if|side|hand))"
    r"|\u662f?(?:\u6b63\u786e|\u5bf9)\u7684?)",
    re.IGNORECASE,
)
# Said of a letter that it is not meant, before it and behind it.
NOT_BEFORE = re.compile(
    r"(?:\b(?:not|none\s+of|neither|nor|never|without|unlike|than|instead\s+of|exclud\w+|eliminat\w+"
    r"|rul\w+\s+out|reject\w*|discard\w*)|n['\u2019]t(?:\s+be)?|\u4e0d(?:\u662f|\u9009)|"
    r"\u6392\u9664)\s*(?:the\s+)?(?:options?|choices?|answers?|letter)?\s*[(\[\"'*]*$",
    re.IGNORECASE,
)
NOT_BEHIND = re.compile(
    rf"{SHUT}*(?:\s*[,(:][^,.()\n]{{0,60}}[,)])?\s*(?:(?:is|are|was|can|could|would|does|do|seems|"
    r"must|be|also|clearly|definitely|therefore|both)\s*)*"
    # "B not C" says B.
    rf"(?:n['\u2019]t|not\b(?!\s+(?:option\s+)?[(\[]?(?-i:[A-HJ-Z]){RIGHT}(?!\s[a-z]))|cannot|isn|incorrect|wrong|false|ruled\s+out|eliminated|excluded"
    r"|unlikely|implausible|inaccurate|out\b|\u4e0d|\u9519)",
    re.IGNORECASE,
)
# Said before a statement that it is doubted or only thought of.
DOUBT = re.compile(
    r"(?:n['\u2019]t|\bnot|\bnever|\bwhether|\bif|\bdoubt|\b(?:may|might|could|would)\s+"
    r"(?:say|think|argue|assume|believe)|\bsome\s+(?:say|think))\b[^.;,:\n]{0,60}$"
    r"|\b(?:other|another|wrong|incorrect)\s+$",
    re.IGNORECASE,
)
# Within an opening: "I did not choose", "the answer cannot be".
DENIAL = re.compile(r"\b(?:not|cannot|never)\b|n['\u2019]t\b", re.IGNORECASE)
EXCEPT = re.compile(
    r"\b(?:except|all\s+but|other\s+than)\s+(?:for\s+)?(?:options?\s+)?[(\[\"'*]*$", re.IGNORECASE
)
NO_ANSWER = re.compile(r"\(?(?:n\s*/\s*a|none|unknown)\)?\.?", re.IGNORECASE)
# Several letters and nothing else.
_BESIDE = r"[\s,;/&|()\[\]{}<>.*+\"'-]"
LETTERS = re.compile(rf"{_BESIDE}*[A-Z](?:{_BESIDE}+[A-Z])+{_BESIDE}*")
# "A or B? B."
ASKED = re.compile(rf"\?\s+{OPEN}*([A-Za-z])\s*{SHUT}*[.!]?\s*$")
# "B: correct", "B - yes", "| B | right |", as a line of a list or of an object.
VERDICT = re.compile(
    rf"{LEFT}(?:[Oo]ption\s+)?{OPEN}*([A-Z]){SHUT}*\s*[.:|)=\u2013\u2014-]*\s*[\"'*]*"
    r"((?i:correct|right|true|yes)(?=\s*(?:[.,;!|\"'*}(\n-]|$))|[\u2705\u2713\u2714])"
)
NEAR = 100  # characters
SENTENCE_END = re.compile(r"[.;!?](?:\s|$)|\n|,\s*(?:not|but)\b")
CLAUSE = re.compile(r"[.,;:!?\n](?:\s|$)")
ARTICLE = re.compile(r"(?:an?|the)\s", re.IGNORECASE)
OWNED = re.compile(r"['\u2019]\w")
# What joins options, of which none is then the answer: "or", "and also", "as well as", ", maybe".
MAYBE = r"(?:also|maybe|perhaps|possibly|probably|even|else|potentially|equally|likely)"
_JOIN = (
    rf"\s*(?:,?\s*\(?(?:and\s*/\s*or|or|and|und|oder|ou|et|y|o)(?:\s+{MAYBE})*\s"
    rf"|,?\s*but\s+{MAYBE}\s"
    r"|,?\s*(?:as\s+well\s+as|along\s+with|together\s+with|in\s+addition\s+to|plus)\s"
    rf"|,?\s*\(?{MAYBE}\s|[/&|]|\+\s)\s*"
)
_COMMA = r",\s*(?=[A-Z]\s*(?:$|[.,]|(?:or|and|as\s+well\s+as)\b))"
OR = re.compile(
    rf"(?:{_JOIN}|\s*{_COMMA})(?:(?:the\s+)?(?:option|choice)\s+)?{OPEN}*([A-Z]){RIGHT}",
    re.IGNORECASE,
)
# A capital standing alone anywhere, but for A and I, which are words.
STANDING = re.compile(rf"{LEFT}([B-HJ-Z]){RIGHT}(?!['\u2019]\w)")
# Among others A and I are letters, too: "A or B", "Both B and A", "A, C and D are wrong".
_BEHIND_A = r"(?:or|and|nor|are|is|both|as\s+well|along|together|plus|but)\b"
_AMONG = rf"(?![AI]\s+(?!{_BEHIND_A})[a-z]){OPEN}*[A-Z]{RIGHT}{SHUT}*"
SEVERAL = re.compile(
    rf"{LEFT}{_AMONG}(?:(?:(?i:{_JOIN})|,?\s*\bnor\s+|\s*,\s*)"
    rf"(?:(?:the\s+)?(?:[Oo]ption|[Cc]hoice)\s+)?{_AMONG})+"
)
# What may stand behind several options that are all stated.
ALL = re.compile(r"\s*(?:are|could|can|may|might|seem|both)\b", re.IGNORECASE)
BETWEEN = re.compile(
    r"\b(?:between|among|from|whether(?:\s+\w+){0,3})\s+(?:options?\s+)?$", re.IGNORECASE
)
MENTION = re.compile(r"\b(?:option|choice)\s+[(\[\"']*([A-Za-z])(?![A-Za-z0-9'\u2019])", re.I)
# "B. a dog", "(b) a dog", "[B]", "B because", "B, since": a letter that opens an answer.
MARKED = re.compile(
    r"\s*[\"'*]*(?:\(([A-Za-z])\)|\[([A-Za-z])\]|\(?([A-Za-z])(?:[):\]\u3001]|\.(?![A-Za-z]\.)(?=[A-Z\s]|$)"
    r"|\s*$|\s+[-\u2013\u2014]+\s|,?\s+(?:because|since|as|is\s+(?:the\s+)?(?:correct|right|best|answer))\b))"
)
# "B, the dog"; a small "a," opens a sentence.
COMMA = re.compile(r"\s*([A-Z])\s*[,;\uff0c]")
LIST_ITEM = re.compile(r"^\s*[-*]?\s*\(?([A-Za-z])[.):]\s", re.MULTILINE)
# A line with nothing but a letter and marks around it.
LINE = re.compile(rf"^\s*{OPEN}*\s*([A-Za-z])\s*{SHUT}*[\s.:,!\u3002]*{SHUT}*$", re.MULTILINE)
JSON = re.compile(
    r"[\"'](?:final_|correct_|predicted_)?(?:answer|choice|option|letter|prediction)[\"']\s*:\s*"
    r"(?:\"([^\"]*)\"|'([^']*)'|([A-Za-z])\b)",
    re.IGNORECASE,
)
