"""Prompts as token ids: the prefix that all questions of a clip share, then the turns.

User text is never tokens: what a question spells of them is encoded as letters (`continued`).

Every part is encoded on its own, so that training (which packs many turns behind one prefix) and
generation (which asks one) feed the model the same ids. The parts are those of the family's own
chat template.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from pave.errors import BaseError

logger = logging.getLogger(__name__)

_ID = attrgetter("id")
# The fields of a `PromptStyle` that are written around turns.
_TEXTS = ("head", "after_video", "ask", "end", "again", "answer", "question", "header")


@dataclass(frozen=True)
class PromptStyle:
    """The text around turns.

    A prompt is `head + video + after_video` (the prefix all questions of a clip share), then a turn
    `question + ask + answer + end`, with `again` between one turn's end and the next question.

    Attributes:
        head: From the start of the sequence to the video placeholders (system turn and opening of
            the first user turn).
        after_video: Between the placeholders and the first question.
        ask: Between a question and its answer (closes the user turn, opens the assistant's).
        end: After an answer; its first token, one by itself, is also the stop token of generation.
        again: Opens a further user turn.
        answer: Put before every answer, where the chat format writes a space there. Part of the
            answer, so that the model learns (and predicts) it as it did in its own training.
        question: Put before every question and tokenised together with it.
        header: The end of `ask` that is learnt as a part of the answer (the assistant's header, in
            LLaVA's training).
        learnt: Tokens that are learnt wherever they stand, in questions and in the system turn too
            (LLaVA's training).
    """

    head: str
    after_video: str
    ask: str
    end: str
    again: str
    answer: str = ""
    question: str = ""
    header: str = ""
    learnt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One clip's text as ids.

    Attributes:
        prefix: Head, clip placeholders and what follows them.
        turns: `(question ids, answer ids)` a turn; the answer ids are empty where the answer is not
            known.
        again: Put between one turn's answer and the next question when turns form a dialogue.
        header: So many ids at the end of each question are learnt with the answer.
        learnt: Ids that are learnt wherever they stand.
    """

    prefix: list[int]
    turns: list[tuple[list[int], list[int]]] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    header: int = 0
    learnt: frozenset[int] = frozenset()

    def ask(self, turn: int = 0) -> list[int]:
        """Ids to generate the answer of one turn from, as if it were the only one."""
        question, _ = self.turns[turn]
        return self.prefix + question

    def dialogue(self) -> list[int]:
        """Ids of the prefix and all turns in a row."""
        ids = list(self.prefix)
        for number, (question, answer) in enumerate(self.turns):
            if number:  # the prefix has opened the first turn already
                ids += self.again
            ids += question + answer
        return ids


def continued(
    tokenizer: Any,
    text: str,
    around: tuple[str, str] = ("", ""),
    controls: re.Pattern[str] | None = None,
) -> list[int]:
    """Ids of text that continues a line.

    SentencePiece tokenizers put a space in front of text that stands alone, so it is encoded behind
    a newline, whose ids are then taken off. Where the newline grows together with the text (Qwen
    has a token of two newlines), the text is encoded alone.

    Args:
        tokenizer: The base's.
        text: The text; a user's where `controls` is given.
        around: The chat format's text before and behind a user's; all is tokenised together, for
            tokens may run across the joints.
        controls: From `controls_of`; what the user's text spells of them is encoded as letters.
    """
    if controls is not None and controls.search(text):
        return _spelt_out(tokenizer, text, around, controls)
    text = around[0] + text + around[1]
    if not text:
        return []
    newline = list(tokenizer("\n", add_special_tokens=False)["input_ids"])
    both = list(tokenizer("\n" + text, add_special_tokens=False)["input_ids"])
    if both[: len(newline)] == newline:
        return both[len(newline) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _spelt_out(
    tokenizer: Any, text: str, around: tuple[str, str], controls: re.Pattern[str]
) -> list[int]:
    """A user's text that spells control tokens: they are letters, only the format's count."""
    before, after = around
    # What is tokenised together stands between two control tokens of the format.
    start, end = 0, len(after)
    for found in controls.finditer(before):
        start = found.end()
    if first := controls.search(after):
        end = first.start()
    opened = continued(tokenizer, before[:start])
    own = continued(Plain(tokenizer), before[start:] + text + after[:end])
    return opened + own + continued(tokenizer, after[end:])


class Plain:
    """A tokenizer as far as it reads text: whatever a text spells, it is letters and no control.

    `split_special_tokens` of transformers splits special tokens alone, and sets a flag on the
    tokenizer that all threads share; here the tokenizer's own parts are run one after the other.

    Args:
        tokenizer: A tokenizer of transformers.

    Example:
        >>> len(Plain(tokenizer)("<image>")["input_ids"])  # one id a byte  # doctest: +SKIP
        7
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        """As the tokenizer's own call; `options` are its."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:  # written in Python: here the flag is the call's alone
            encoded = self._tokenizer(text, split_special_tokens=True, **options)
            return {"input_ids": list(encoded["input_ids"])}
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = [(text, (0, len(text)))]  # with their places
        if backend.pre_tokenizer is not None:
            words = backend.pre_tokenizer.pre_tokenize_str(text)
        ids: list[int] = []
        for word, _ in words:
            ids += map(_ID, backend.model.tokenize(word))
        return {"input_ids": ids}


def controls_of(tokenizer: Any, style: PromptStyle, placeholder: str) -> re.Pattern[str]:
    """What a user's text must not spell as a token: a pattern of the tokenizer's control tokens.

    These are its special tokens, the placeholder, and what else it knows as a whole and the chat
    format is made of. Words that somebody added to a vocabulary stay words.
    """
    spelt = " ".join(vars(style)[name] for name in _TEXTS)
    wanted = {placeholder}
    for token in tokenizer.added_tokens_decoder.values():
        own = str(token)
        if token.special or (own in spelt and not own.isspace()):
            wanted.add(own)
    # A token may begin as another one does: the longest is looked for first.
    longest_first = sorted(map(re.escape, wanted - {""}), key=len, reverse=True)
    return re.compile("|".join(longest_first))


def end_of_answers(tokenizer: Any, end: str) -> str:
    """The text that ends an answer: the format's, where its first token says that it ends.

    Tokenizers without that token spell it in letters, whose first one ends many an answer early.
    There the tokenizer's own end token takes its place.

    Args:
        tokenizer: The base's.
        end: The format's.

    Raises:
        BaseError: If there is no end token either.
    """
    first, *rest = list(tokenizer(end, add_special_tokens=False)["input_ids"]) or [None]
    # One of several ordinary pieces says nothing; one that stands for all of the end does.
    known = first in tokenizer.added_tokens_decoder or not rest
    if first is not None and first != tokenizer.unk_token_id and known:
        return end
    own = tokenizer.eos_token
    if own is None:
        raise BaseError(
            f"the tokenizer has no token {end!r}, with which this family's answers end, and no end "
            "token of its own; set tokenizer.eos_token, or load the family's tokenizer"
        )
    logger.warning(
        "the tokenizer has no token %r, with which this family's answers end; they end with its "
        "own end token %r",
        end,
        own,
    )
    return str(own)


def context_length(config: Any) -> float:
    """Tokens that a language model was made for, stretched positions included.

    Args:
        config: Of the language model.
    """
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int):  # a model without positions
        return math.inf
    # Kinds of layers with positions of their own (Gemma's) are under their names; their factors
    # are a part of `max_position_embeddings` already.
    rope = getattr(config, "rope_parameters", None) or {}
    # Stretched positions: the factor counts from what the model had before.
    before = rope.get("original_max_position_embeddings", most)
    factor = rope.get("factor") or 1
    return max(float(most), float(before * factor))
