"""Prompts as token ids: the prefix that all questions of a clip share, then one pair of id lists a turn.

Every part is encoded on its own, so that training (which packs many turns behind one prefix) and
generation (which asks one) feed the model the same ids. The parts are those of the family's own
chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pave.bases.family import PromptStyle
from pave.errors import BaseError

_ANCHOR = "\n"


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
        return self.prefix + self.turns[turn][0]

    def dialogue(self) -> list[int]:
        """Ids of the prefix and all turns in a row."""
        ids = list(self.prefix)
        for number, (question, answer) in enumerate(self.turns):
            ids += (self.again if number else []) + question + answer
        return ids


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _continue(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that continues a line: SentencePiece tokenizers would put a space in front of text that stands alone."""
    anchor, both = _ids(tokenizer, _ANCHOR), _ids(tokenizer, _ANCHOR + text)
    return both[len(anchor) :] if both[: len(anchor)] == anchor else _ids(tokenizer, text)


def _head(tokenizer: Any, text: str) -> list[int]:
    """Ids of the prefix, with BOS where the tokenizer writes one in front of every text."""
    ids, bos = _ids(tokenizer, text), tokenizer.bos_token_id
    if bos is None or ids[:1] == [bos]:
        return ids
    return [bos, *ids] if list(tokenizer("a")["input_ids"])[:1] == [bos] else ids


def encode_prompt(
    tokenizer: Any, style: PromptStyle, text: str, turns: Sequence[tuple[str, str | None]]
) -> Prompt:
    """Encode a clip's text and its turns.

    Args:
        tokenizer: The base's tokenizer.
        style: The family's chat format.
        text: `Clip.text`, the placeholders.
        turns: `(question, answer)` pairs; an answer of None leaves the turn open (generation).
    """
    pairs = []
    for question, answer in turns:
        closed = [] if answer is None else _continue(tokenizer, style.answer + answer + style.end)
        pairs.append((_continue(tokenizer, style.question + question + style.ask), closed))
    prefix = _head(tokenizer, style.head + text + style.after_video)
    learnt = frozenset(token for text in style.learnt for token in _ids(tokenizer, text))
    return Prompt(
        prefix, pairs, _continue(tokenizer, style.again), len(_ids(tokenizer, style.header)), learnt
    )


def pad_prompts(prompts: Sequence[Sequence[int]], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
    """Stack id lists of different lengths.

    Args:
        prompts: One list of ids a row.
        pad_id: Filler; masked out.
        side: "left" (generation) or "right" (training).

    Returns:
        `(input_ids, attention_mask)`, both `[B, L]` int64.

    Raises:
        BaseError: If there are no prompts or the side is neither.
    """
    if not prompts or side not in ("left", "right"):
        raise BaseError(
            "a batch needs at least one prompt and a padding side of left or right, got "
            f"{len(prompts)} and {side!r}"
        )
    longest = max(len(row) for row in prompts)
    ids = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        where = slice(longest - len(prompt), longest) if side == "left" else slice(0, len(prompt))
        ids[row, where] = torch.tensor(list(prompt), dtype=torch.long)
        mask[row, where] = 1
    return ids, mask
