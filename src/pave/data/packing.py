"""Shared-prefix packing: all questions about a clip behind one copy of its visual tokens.

A clip costs hundreds of visual tokens, a question and its answer about twenty. Training on one
question at a time spends nearly all compute on the same prefix again and again. Here a sequence is
`[prefix][q1 a1][q2 a2]...`; every block sees the prefix and itself, causally, and positions restart
after the prefix, on every axis where a family has several. Loss and gradients are those of separate
sequences (dropout aside), at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pave.bases.prompt import Prompt
from pave.errors import RecordError

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Packed:
    """One sequence to train on.

    Attributes:
        ids: All token ids, prefix first.
        prefix: Length of the prefix.
        blocks: Length of each dialogue behind it; they add up to `len(ids) - prefix`.
        keep: Positions whose next token is learnt (an answer token, and what else the chat format
            says), ascending.
        labels: Those next tokens.
    """

    ids: list[int]
    prefix: int
    blocks: list[int]
    keep: list[int]
    labels: list[int]


def pack(prompts: Sequence[Prompt]) -> Packed:
    """Pack the dialogues of one clip behind their common prefix.

    Args:
        prompts: One or more encoded records of the same clip.

    Raises:
        RecordError: If a prompt has another prefix than the first one (it is about another clip),
            or no answer to learn.

    Example:
        >>> pack([Prompt([1, 2], [([3], [4, 5])]), Prompt([1, 2], [([6], [7])])]).keep
        [2, 3, 5]
    """
    head = list(prompts[0].prefix)
    ids = list(head)
    blocks: list[int] = []
    learnt = [token in prompts[0].learnt for token in head]
    for prompt in prompts:
        if prompt.prefix != head:
            raise RecordError(
                "only dialogues about the same clip can share a sequence; group the records by "
                "clip first"
            )
        start, answered = len(ids), False
        for number, (question, answer) in enumerate(prompt.turns):
            if not question:
                raise RecordError(
                    "a turn without a question cannot be trained on; give every turn a question"
                )
            asked = [*(prompt.again if number else []), *question]
            header = len(asked) - prompt.header if answer else len(asked)
            learnt += [
                token in prompt.learnt or place >= header for place, token in enumerate(asked)
            ]
            learnt += [True] * len(answer)
            ids += [*asked, *answer]
            answered |= bool(answer)
        if not answered:
            raise RecordError(
                "a record without an answer cannot be trained on; give each turn its answer"
            )
        if blocks:
            learnt[start] = (
                False  # the token that predicts it is the prefix's last, which can have one target only
            )
        blocks.append(len(ids) - start)
    # The token in front of each learnt token predicts it; nothing predicts the first.
    keep = [place - 1 for place, flag in enumerate(learnt) if flag and place]
    return Packed(ids, len(head), blocks, keep, [ids[place + 1] for place in keep])


def segments(sequences: Sequence[Packed]) -> Tensor:
    """Who is who, `[B, L]`: 0 for a prefix, 1, 2, ... for the dialogues behind it, -1 for padding on the right."""
    length = max(len(sequence.ids) for sequence in sequences)
    numbers = torch.full((len(sequences), length), -1)
    for row, sequence in enumerate(sequences):
        sizes = torch.tensor([sequence.prefix, *sequence.blocks])
        numbers[row, : len(sequence.ids)] = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    return numbers


def positions(sequences: Sequence[Packed], prefixes: Sequence[Tensor]) -> Tensor:
    """Positions `[A, B, L]` of right-padded packed sequences; padding stands at 0.

    Args:
        sequences: What to place.
        prefixes: For each, `[A, P + 1]` positions of its prefix and of the first token behind it,
            see `pave.bases.prefix_positions`. Every dialogue starts there, as it would alone.
    """
    length = max(len(sequence.ids) for sequence in sequences)
    placed = torch.zeros(prefixes[0].shape[0], len(sequences), length, dtype=torch.long)
    for row, (sequence, prefix) in enumerate(zip(sequences, prefixes, strict=True)):
        counts = torch.cat([torch.arange(size) for size in sequence.blocks])
        placed[:, row, : sequence.prefix] = prefix[:, :-1]
        placed[:, row, sequence.prefix : len(sequence.ids)] = prefix[:, -1:] + counts
    return placed


def visible(numbers: Tensor) -> Tensor:
    """Who sees whom, `[B, 1, L, L]` (True = visible), from `segments`.

    Padding sees the prefix, so that no row of the softmax is empty; nothing sees padding.
    """
    length = numbers.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=numbers.device).tril()
    seen = numbers[:, None, :]
    return (causal & ((seen == 0) | (seen == numbers[:, :, None])))[:, None]


def visible_blocks(numbers: Tensor) -> BlockMask:
    """What `visible` says, as a rule for FlexAttention, which skips the blocks in which nobody sees anybody."""
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        owner = numbers[row, key]
        return (query >= key) & ((owner == 0) | (owner == numbers[row, query]))

    batch, length = numbers.shape
    return create_block_mask(sees, batch, None, length, length, device=str(numbers.device))


def positions_and_mask(sequences: Sequence[Packed]) -> tuple[Tensor, Tensor]:
    """Positions `[B, L]` and who-sees-whom `[B, 1, L, L]` for families that count tokens on one axis."""
    counted = [torch.arange(sequence.prefix + 1)[None] for sequence in sequences]
    return positions(sequences, counted)[0], visible(segments(sequences))


def targets(sequences: Sequence[Packed]) -> tuple[Tensor, Tensor]:
    """Where to compute logits, `[B, L]` bool, and the token ids `[N]` expected there, in row-major order."""
    length = max(len(sequence.ids) for sequence in sequences)
    keep = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        keep[row, sequence.keep] = True
    return keep, torch.tensor([label for sequence in sequences for label in sequence.labels])
