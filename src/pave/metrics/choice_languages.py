"""What other languages say of an option's letter, put into English for one set of patterns.

The patterns themselves are in `pave.metrics.choice_patterns`.
"""

from __future__ import annotations

import re

# A capital alone, with what stands around it. Not I, which is a word of English.
_ALONE = (
    r"[(\[\"'“【]*(?<![A-Za-z0-9À-ӿ'’])[A-HJ-Z]"
    r"(?![A-Za-z0-9À-ӿ\u0600-\u06ff])[)\]\"'”】]*"
)
_LETTER = rf"(?P<letter>{_ALONE})"
# Or, and: German, French, Spanish, Italian, Portuguese, Dutch, the Nordic languages, Polish,
# Czech, Romanian, Hungarian, Turkish, Indonesian, Vietnamese, Russian, Greek, Arabic, Persian,
# Hebrew, Hindi, Thai.
_OR = (
    r"oder(?:\s+auch)?|und|als\s+auch|ou(?:\s+bien)?|et|y|o|e|u|ed|of|en|eller|och|og|tai|ja|lub|"
    r"albo|oraz|i|nebo|sau|și|vagy|és|veya|ya\s+da|ve|atau|dan|hoặc|và|или|либо|и|або|та|ή|και|أو|"
    r"و|یا|או|या|और|หรือ|และ"
)
_OR_CJK = r"或者?|和|跟|与|與|及|以及|、|か|と|や|または|또는|이나|나|와|과|하고"
# Said in front of a letter that is not meant.
_NOT = (
    r"weder|noch|nicht|keine?[rsnm]?|ni|pas|no\s+es|no|non\s+è|non|né|não\s+(?:é|"
    r"está)|não|nem|niet|geen|inte|ikke|ej|varken|nie|ani|není|nu\s+(?:este|e)|ei\s+ole|"
    r"bukan(?:lah)?|không\s+phải(?:\s+là)?|не|ни|δεν\s+είναι|ليست?|ليس|לא|นั่นไม่ใช่|ไม่ใช่"
)
_NOT_CJK = r"不是|不选|不選|并非|並非|而不是|而非|排除"
_ARTICLE = r"(?:(?:la|le|el|il|lo|os?|die|der|das|de|het|den|det)\s+|l['’]\s*|à\s+|a\s+)?"
_NOUN = (
    r"(?:(?:opción|opção|opzione|alternativa?|variante?|вариант|opcja|opci[ie]|optie|letra|"
    r"lettre|lettera|buchstabe|pilihan|विकल्प|الخيار|phương\s+án|seçenek|선택지|选项|選項|"
    r"選択肢|ตัวเลือก|Option)\s*)"
)
# Between a letter and what is said of it.
_IS = (
    r"(?:\s*(?:option|选项|選項|项|項|번|şıkkı|ist|sind|est|sont|es|son|è|sono|é|"
    r"são|está(?:n|o)?|is|zijn|är|er|on|jest|są|je|jsou|este|sunt|là|adalah|είναι|"
    r"является|هو|هي|都?是?|은|는|이|가|は|が|to)(?![A-Za-zÀ-ӿ]))*\s*"
)
_NEGATED = (
    r"\s+(?:ist\s+nicht|n['’]est\s+pas|no\s+es|no\s+está|non\s+è|não\s+(?:é|está)|"
    r"is\s+niet|är\s+inte|er\s+ikke|nie\s+jest|není|nu\s+este|ei\s+ole|не)\b"
)
_WRONG = (
    r"(?:falsch|inkorrekt|scheide[nt]\s+aus|faux|fausses?|incorrecte?[sa]?|incorrecto|fals[aoe]s?|"
    r"errad[ao]s?|incorr?et[ao]s?|sbagliat[aoe]|errat[aoe]|scorrett[aoe]|fout|onjuist|fel|feil|forkert|"
    r"väärin|błędn\w+|niepoprawn\w+|nieprawidłow\w+|špatn\w+|nesprávn\w+|"
    r"hibás|greșit\w*|yanlış|değil|salah|sai|неверн\w+|неправильн\w+|ошибочн\w+|"
    r"λάθος|خطأ|خاطئة?|غلط|نادرست|שגוי\w*|गलत|नहीं|ผิด|不对|不對|不正确|不正確|不符|不是|错|錯|間違|誤り|"
    r"違[いうっ]|では(?:な|あり)|じゃ(?:な|あり)|아니|아닙|틀|오답)"
)
_RIGHT = (
    r"(?:(?:die|la|a|het|det|den)\s+)?(?:richtig\w*|korrekt\w*|wahr|bonne|correct[aeo]?s?|exacte?|juste|"
    r"vraie?|verdader[ao]|giust[ao]|corrett[ao]|cert[ao]|corr?et[ao]|"
    r"juiste?|goede?|rätt|riktig\w*|"
    r"rigtig\w*|oikea|oikein|poprawn\w+|prawidłow\w+|správn\w+|helyes|corec\w*|doğru|benar|"
    r"đúng|верн\w+|правильн\w+|σωστ\w+|صحيحة?|درست|נכונ?ה?|सही|ถูก|正确|正確|对|對|正しい|正解|맞|정답)"
)
_END = r"(?![A-Za-zÀ-ӿ])"
# "I choose B", in front of a letter alone.
_CHOOSE = (
    r"\b(?:ich\s+(?:wähle|nehme)|je\s+choisis|elijo|escojo|scelgo|escolho|ik\s+kies|jag\s+väljer|"
    r"jeg\s+velger|wybieram|volím|aleg|saya\s+(?:memilih|pilih)|chọn|(?:я\s+)?выбираю|ben\s+seçerim)\s+"
)
_THIS = (
    r"(?:^|[.,;:!?\n]\s*|\b(?:sondern|sino|mais|mas|ma|maar|utan|lecz|ale)\s+)(?:c['’]est|es\s+ist|"
    r"das\s+ist|es|è|é|это|to\s+jest|het\s+is|det\s+är|det\s+er)\s+"
)

# "A correta" is an article and its word.
_ARTICLE_A = rf"A\s+(?=[A-Za-zÀ-ɏ])(?i:{_WRONG}|{_RIGHT})"
_WORD = rf"(?i:{_ARTICLE}{_NOUN})?"
# What stands in front of a letter comes first, then what joins it to others, then what follows.
_ENGLISH = (
    (rf"(?<!\w)(?i:{_NOT})\s+{_WORD}(?i:{_ARTICLE}){_LETTER}", r"not \g<letter>"),
    (rf"(?i:{_NOT_CJK})\s*{_WORD}{_LETTER}", r" not \g<letter>"),
    (rf"(?<![A-Za-zÀ-ӿ])(?i:{_ARTICLE}{_NOUN}){_LETTER}", r" option \g<letter>"),
    (rf"(?i:{_CHOOSE}){_WORD}(?i:{_ARTICLE}){_LETTER}", r"I choose \g<letter>"),
    (rf"(?i:{_THIS})(?i:{_ARTICLE}){_LETTER}", r". It is \g<letter>"),
    (rf"(?<=\b(?:es|is)\s)(?i:la|el|de)\s+{_LETTER}", r"\g<letter>"),
    (rf"(?<=\b(?:est|ist)\s)(?i:la|le|die)\s+{_LETTER}", r"\g<letter>"),
    (rf"(?<=[èé]\s)(?i:la|a|o)\s+{_LETTER}", r"\g<letter>"),
    (rf"{_LETTER}(?:,?\s+(?:{_OR})\s|\s*(?:{_OR_CJK}))\s*(?={_ALONE})", r"\g<letter> or "),
    (rf"{_LETTER}{_NEGATED}", r"\g<letter> is not"),
    (rf"{_LETTER}['’]d[iı]r\b", r"\g<letter>"),
    (rf"(?!{_ARTICLE_A}){_LETTER}(?i:{_IS}{_WRONG}{_END})", r"\g<letter> is wrong "),
    (rf"(?!{_ARTICLE_A}){_LETTER}(?i:{_IS}{_RIGHT}{_END})", r"\g<letter> is correct "),
)


def in_english(text: str) -> str:
    """The same text, with what other languages say of letters said in English.

    Every rule is anchored at a capital that stands alone, so the words of options stay as they
    are: "B ist falsch" becomes "B is wrong", and "ein Hund ist falsch" is left.

    Example:
        >>> in_english("A oder B")
        'A or B'
        >>> in_english("Es ist ein Hund")
        'Es ist ein Hund'
    """
    for pattern, english in _ENGLISH:
        text = re.sub(pattern, english, text)
    return text
