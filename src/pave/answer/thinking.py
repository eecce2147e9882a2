"""Thinking that a model writes before its answer, and how to leave it out."""

from __future__ import annotations

import logging
import re

from pave.answer.sampling import Sampling

logger = logging.getLogger(__name__)

_NAMES = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|scratchpad)"
# How models mark their thinking: <think>, [THINK], Cohere's and Open Thought's tokens, Kimi's
# triangles.
_OPENED = re.compile(
    rf"<{_NAMES}>|<\|(?:START_)?THINKING\|>|\[THINK\]|\u25c1think\u25b7|<\|begin_of_thought\|>",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    rf"</{_NAMES}>|<\|(?:/|END_)THINKING\|>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>",
    re.IGNORECASE,
)
# Harmony's channels: only the final one is for the reader.
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)\s*(?:<\|message\|>)?")
# Where trained models put their answer; an end that was cut off is no matter.
ANSWER = re.compile(
    r"<(answer|conclusion|final_answer)>(.*?)(?:</\1>|(?=<\1>)|$)", re.IGNORECASE | re.DOTALL
)
MARK = re.compile(
    "|".join(pattern.pattern for pattern in (_OPENED, _CLOSED, _CHANNEL)), re.IGNORECASE
)
"""Any mark of thinking; a text without one is an answer as it is."""


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
        tagged = ANSWER.search(text, opened.end())
        text = text[: opened.start()]
        if tagged is not None:
            text += tagged[0]
    if closed or channels or opened:
        text = text.strip()
    return text


def opened_by(text: str) -> str:
    """The mark that a prompt's end leaves open (Qwen3-VL-Thinking's does); empty without one.

    Example:
        >>> opened_by("assistant: <think>"), opened_by("assistant: ")
        ('<think>', '')
    """
    marks = list(_OPENED.finditer(text))
    if not marks or _CLOSED.search(text, marks[-1].end()):
        return ""
    return marks[-1][0]


def shown(text: str, sampling: Sampling, asked: str) -> str:
    """What of generated text is the answer: up to a stop text, and after the thinking.

    Args:
        text: The text, decoded.
        sampling: How it was generated.
        asked: The end of the prompt, which may have begun the thinking.
    """
    for stop in sampling.stop:
        text = text.partition(stop)[0]
    text = text.strip()
    if sampling.thinking:
        return text
    answer = without_thinking(opened_by(asked) + text)
    if text and not answer:
        logger.warning(
            "the model was still thinking after %d tokens, so there is no answer; allow more "
            "(max_new_tokens, --max-new-tokens), or show what it was thinking (thinking, "
            "--thinking)",
            sampling.max_new_tokens,
        )
    return answer
