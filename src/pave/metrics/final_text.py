"""What of a model's text is its answer: thinking, tags and markup taken off."""

from __future__ import annotations

import re
import unicodedata

_NAMES = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|scratchpad)"
# How models mark their thinking: <think>, [THINK], Kimi's triangles, Open Thought's tokens.
_OPENED = re.compile(
    rf"<{_NAMES}>|\[THINK\]|\u25c1think\u25b7|<\|begin_of_thought\|>", re.IGNORECASE
)
_CLOSED = re.compile(
    rf"</{_NAMES}>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>", re.IGNORECASE
)
# Harmony's channels: only the final one is for the reader.
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)\s*(?:<\|message\|>)?")
# Where trained models put their answer; an end that was cut off is no matter.
_ANSWER = re.compile(
    r"<(answer|conclusion|final_answer)>(.*?)(?:</\1>|(?=<\1>)|$)", re.IGNORECASE | re.DOTALL
)
_BOX = re.compile(r"<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|$)", re.DOTALL)
_SPECIAL = re.compile(r"<\|[^|<>]*\|>|</s>|<(?:eos|end_of_turn)>")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|bf|rm|mathit|mbox|operatorname)\s*\{")
_BOXED = re.compile(r"\\f?box(?:ed)?\s*\{")
# Fences and marks of Markdown; a single star or underline may belong to a word.
_MARKDOWN = re.compile(r"```\w*|\*\*+|__+|`|^\s*(?:#+|>)\s+", re.MULTILINE)


def without_thinking(text: str) -> str:
    """What a model says after it has thought.

    A block that is never closed was cut off while thinking: there is no answer yet. A mark that
    closes without one that opens ends thinking that began in the prompt.

    Example:
        >>> without_thinking("<think>A cat? No.</think> B"), without_thinking("<think>A cat")
        ('B', '')
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        last = channels[-1]
        text = text[last.end() :]
        if last[1] != "final":
            text = ""
    closed = list(_CLOSED.finditer(text))
    if closed:
        text = text[closed[-1].end() :]
    opened = _OPENED.search(text)
    if opened is not None:
        # An answer in tags may follow thinking that was not closed.
        tagged = _ANSWER.search(text, opened.end())
        text = text[: opened.start()]
        if tagged is not None:
            text += tagged[0]
    if closed or channels or opened:
        text = text.strip()
    return text


def final_text(text: str) -> str:
    r"""The part of an answer that states it, as plain text.

    Thinking is left out, an answer between tags or in a box stands for the whole, LaTeX and
    Markdown lose their marks, and wide letters and signs ("\uff22") become plain ones.

    Example:
        >>> final_text("<answer>**B**</answer>"), final_text(r"So $\boxed{\text{B}}$.")
        ('B', 'B')
    """
    text = unicodedata.normalize("NFKC", without_thinking(text))
    for tagged in (_ANSWER, _BOX):
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
