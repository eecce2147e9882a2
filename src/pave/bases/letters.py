"""Text as ids: what people write is letters, whatever tokens it spells, and where text goes on.

A tokenizer takes the text of a control token for that token, wherever it stands. What only a chat
format may write is looked for beforehand (`controls_of`), and a user's text that spells it goes the
tokenizer's own way without it (`Plain`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from typing import Any

from pave.errors import BaseError

logger = logging.getLogger(__name__)


def continued(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that continues a line.

    SentencePiece tokenizers put a space in front of text that stands alone, so it is encoded behind
    a newline, whose ids are then taken off. Where the newline grows together with the text (Qwen
    has a token of two newlines), the text is encoded alone.

    Args:
        tokenizer: The base's.
        text: The text.
    """
    if not text:
        return []
    newline = list(tokenizer("\n", add_special_tokens=False)["input_ids"])
    both = list(tokenizer("\n" + text, add_special_tokens=False)["input_ids"])
    if both[: len(newline)] == newline:
        return both[len(newline) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


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
        whole = (0, len(text))
        words = [(text, whole)]  # with their places
        if backend.pre_tokenizer is not None:
            words = backend.pre_tokenizer.pre_tokenize_str(text)
        ids: list[int] = []
        for word, _ in words:
            tokens = backend.model.tokenize(word)
            ids += [token.id for token in tokens]
        return {"input_ids": ids}


def controls_of(tokenizer: Any, texts: Sequence[str], placeholder: str) -> frozenset[str]:
    """What a user's text must not spell as a token: the texts of the tokenizer's control tokens.

    These are its special tokens, the placeholder, and what else it knows as a whole and the chat
    format is made of. Words that somebody added to a vocabulary stay words.

    Args:
        tokenizer: The base's.
        texts: What the chat format writes around turns.
        placeholder: The token that stands for one visual token.
    """
    spelt = " ".join(texts)
    wanted = {placeholder}
    for token in tokenizer.added_tokens_decoder.values():
        own = str(token)
        if token.special or (own in spelt and not own.isspace()):
            wanted.add(own)
    return frozenset(wanted - {""})


def normalised(tokenizer: Any, parts: Sequence[str]) -> list[str]:
    """Parts of a text as a tokenizer reads them, which may bring all of them to one form."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    normalizer = getattr(backend, "normalizer", None)
    if normalizer is None:
        return list(parts)
    return [normalizer.normalize_str(part) for part in parts]


def any_of(words: Collection[str]) -> re.Pattern[str]:
    """A pattern of one of some words."""
    # A token may begin as another one does: the longest is looked for first.
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    return re.compile("|".join(longest_first))


def spelt_with_neighbours(
    controls: re.Pattern[str], parts: Sequence[str], number: int, reach: int
) -> bool:
    """Whether a part of a text spells a control token, by itself or with what stands around it.

    Args:
        controls: The tokens.
        parts: The text.
        number: Which part.
        reach: Characters on either side that a token may have beside one of the part.

    Example:
        >>> spelt_with_neighbours(re.compile("<s>"), ["a", "<s", "", ">", "b"], 1, 2)
        True
    """
    text = parts[number]
    if not text:
        return False
    # What stands before and behind it, as far as a token can reach.
    before, after = "", ""
    for part in reversed(parts[:number]):
        if len(before) >= reach:
            break
        before = part[-reach:] + before
    for part in parts[number + 1 :]:
        if len(after) >= reach:
            break
        after += part[:reach]
    end = len(before) + len(text)
    # A token that lies in the neighbours alone is theirs.
    for found in controls.finditer(before + text + after):
        if found.end() > len(before) and found.start() < end:
            return True
    return False


def open_ends(words: Collection[str], text: str) -> tuple[int, int]:
    """How many characters at a text's two ends may be a part of a control token with a neighbour.

    Args:
        words: The tokens.
        text: Without outer white space.

    Example:
        >>> open_ends({"<s>"}, "s> a <")
        (2, 1)
    """
    begins: set[str] = set()
    ends: set[str] = set()
    # All ways to cut a token in two.
    for word in words:
        for cut in range(1, len(word)):
            begins.add(word[:cut])
            ends.add(word[cut:])
    longest = min(len(text), max(map(len, words), default=0))
    first = last = 0
    # The longest of each counts.
    for size in range(1, longest + 1):
        if text[:size] in ends:
            first = size
        if text[-size:] in begins:
            last = size
    return first, last


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
    ids = list(tokenizer(end, add_special_tokens=False)["input_ids"])
    first, *rest = ids or [None]
    # One of several ordinary pieces says nothing; one that stands for all of the end does.
    known = first in tokenizer.added_tokens_decoder or not rest
    if first is not None and first != tokenizer.unk_token_id and known:
        return end
    own = tokenizer.eos_token
    if own is None:
        raise BaseError(
            f"the tokenizer lacks the token {end!r} that ends answers of this family, and has no "
            "end token of its own; set tokenizer.eos_token, or load the family's tokenizer"
        )
    logger.warning(
        "the tokenizer lacks the token %r that ends answers of this family; its own end token "
        "%r is used instead",
        end,
        own,
    )
    return str(own)
