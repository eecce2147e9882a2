"""What of a model's text is its answer: thinking, tags and markup taken off."""

from __future__ import annotations

import re
import unicodedata

from pave.answer.thinking import ANSWER, without_thinking

_BOX = re.compile(r"<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|$)", re.DOTALL)
_SPECIAL = re.compile(r"<\|[^|<>]*\|>|</s>|<(?:eos|end_of_turn)>")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|bf|rm|mathit|mbox|operatorname)\s*\{")
_BOXED = re.compile(r"\\f?box(?:ed)?\s*\{")
# Fences and marks of Markdown; a single star or underline may belong to a word.
_MARKDOWN = re.compile(r"```\w*|\*\*+|__+|`|^\s*(?:#+|>)\s+", re.MULTILINE)


def final_text(text: str) -> str:
    r"""The part of an answer that states it, as plain text.

    Thinking is left out, an answer between tags or in a box stands for the whole, LaTeX and
    Markdown lose their marks, and wide letters and signs ("\uff22") become plain ones.

    Example:
        >>> final_text("<answer>**B**</answer>"), final_text(r"So $\boxed{\text{B}}$.")
        ('B', 'B')
    """
    text = unicodedata.normalize("NFKC", without_thinking(text))
    for tagged in (ANSWER, _BOX):
        found = [match[match.lastindex or 0] for match in tagged.finditer(text)]
        if found:
            text = found[-1]
    text = _SPECIAL.sub(" ", text)
    boxes = list(_BOXED.finditer(text))
    if boxes:
        text = _braced(text, boxes[-1].end())[0]
    # From the inside out, each mark once: \\textbf{\\text{B}}.
    for mark in reversed(list(_LATEX_TEXT.finditer(text))):
        inner, end = _braced(text, mark.end())
        text = text[: mark.start()] + inner + text[end:]
    # Dollars around a formula, not before a price.
    text = re.sub(r"\$\s*(\(?[A-Za-z]\)?)\s*\$", r"\1", text)
    text = re.sub(r"\\[()\[\]]", " ", text)
    return _MARKDOWN.sub("", text).strip()


def _braced(text: str, start: int) -> tuple[str, int]:
    """What stands up to the brace that closes, and the place behind it."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place], place + 1
    return text[start:], len(text)
