"""Shared-prefix packing: all questions about a clip behind one copy of its visual tokens.

A clip costs hundreds of visual tokens, a question and its answer about twenty. Training on one
question at a time spends nearly all compute on the same prefix again and again. Here a sequence is
`[prefix][q1 a1][q2 a2]...`; every block sees the prefix and itself, causally, and positions restart
after the prefix, on every axis where a family has several. Loss and gradients are those of separate
sequences (dropout aside), at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
        pairs: Of each label, which answer it is of: n for the right and -n for the wrong answer of
            the n-th question with two; 0 for what is learnt as it is. Empty where all of it is.
    """

    ids: list[int]
    prefix: int
    blocks: list[int]
    keep: list[int]
    labels: list[int]
    pairs: list[int] = field(default_factory=list)


def pack(prompts: Sequence[Prompt], pairs: Sequence[int] = ()) -> Packed:
    """Pack the dialogues of one clip behind their common prefix.

    Args:
        prompts: One or more encoded records of the same clip.
        pairs: Of each prompt its number in `Packed.pairs`; none where no two answers are compared.
            Of a prompt with a number other than 0 the last answer alone counts.

    Raises:
        RecordError: If a prompt has another prefix than the first one (it is about another clip),
            or no answer to learn.

    Example:
        >>> pack([Prompt([1, 2], [([3], [4, 5])]), Prompt([1, 2], [([6], [7])])]).keep
        [2, 3, 5]
    """
    head = list(prompts[0].prefix)
    ids = list(head)
    learnt = [token in prompts[0].learnt for token in head]
    owners = [0] * len(head)  # of each token the pair that its dialogue is of
    blocks: list[int] = []
    for number, prompt in enumerate(prompts):
        if prompt.prefix != head:
            raise RecordError(
                "only dialogues about the same clip can share a sequence; group the records by clip"
            )
        block, learnt_here = _dialogue(prompt)
        pair = 0
        if pairs:
            pair = pairs[number]
        if pair:
            # From the end: of a dialogue of two answers to compare, the last one differs.
            answer = len(prompt.turns[-1][1] or [])
            learnt_here = [False] * (len(block) - answer) + [True] * answer
        if blocks:
            # What predicts a block's first token is the prefix's last, which can have one target
            # only: the first block's.
            learnt_here[0] = False
        ids += block
        learnt += learnt_here
        owners += [pair] * len(block)
        blocks.append(len(block))
    keep: list[int] = []
    labels: list[int] = []
    numbers: list[int] = []
    # The token in front of each learnt token predicts it; nothing predicts the first.
    for place in range(1, len(ids)):
        if learnt[place]:
            keep.append(place - 1)
            labels.append(ids[place])
            if pairs:
                numbers.append(owners[place])
    return Packed(ids, len(head), blocks, keep, labels, numbers)


def _dialogue(prompt: Prompt) -> tuple[list[int], list[bool]]:
    """The ids of a dialogue behind its prefix, and for each whether it is learnt."""
    ids: list[int] = []
    learnt: list[bool] = []
    answered = False
    for number, (question, answer) in enumerate(prompt.turns):
        if not question:
            raise RecordError("training needs a question in every turn; one turn has none")
        asked = question
        if number:  # the prefix has opened the first turn already
            asked = prompt.further[number]
        learnt_asked = [token in prompt.learnt for token in asked]
        if answer:
            answered = True
            # Some chat formats learn the words that open an answer, which end the question.
            for place in range(len(asked) - prompt.header, len(asked)):
                learnt_asked[place] = True
        ids += [*asked, *answer]
        learnt += learnt_asked
        learnt += [True] * len(answer)
    if not answered:
        raise RecordError("training needs an answer in every turn; one turn has none")
    return ids, learnt


def segments(sequences: Sequence[Packed]) -> Tensor:
    """Who is who, `[B, L]`.

    0 stands for a prefix, 1, 2, ... for the dialogues behind it, -1 for padding on the right.
    """
    length = _longest(sequences)
    numbers = torch.full((len(sequences), length), -1)  # [B, L]
    for row, sequence in enumerate(sequences):
        sizes = torch.tensor([sequence.prefix, *sequence.blocks])
        owners = torch.arange(len(sizes)).repeat_interleave(sizes)  # [P + all blocks]
        numbers[row, : len(owners)] = owners
    return numbers


def positions(sequences: Sequence[Packed], prefixes: Sequence[Tensor]) -> Tensor:
    """Positions `[A, B, L]` of right-padded packed sequences; padding stands at 0.

    Args:
        sequences: What to place.
        prefixes: For each, `[A, P + n]` positions of its prefix and of at least as many tokens
            behind it as its longest dialogue has, see `pave.bases.prefix_positions`. Every dialogue
            stands there, as it would alone.
    """
    axes = prefixes[0].shape[0]
    kind = prefixes[0].dtype  # whole numbers, or fractions where the family has them
    placed = torch.zeros(axes, len(sequences), _longest(sequences), dtype=kind)  # [A, B, L]
    for row, (sequence, prefix) in enumerate(zip(sequences, prefixes, strict=True)):
        end = sequence.prefix
        placed[:, row, :end] = prefix[:, :end]
        behind = prefix[:, end:]  # [A, n]
        for size in sequence.blocks:
            placed[:, row, end : end + size] = behind[:, :size]
            end += size
    return placed


def visible(numbers: Tensor) -> Tensor:
    """Who sees whom, `[B, 1, L, L]` (True = visible), from `segments`.

    Padding sees the prefix, so that no row of the softmax is empty; nothing sees padding.
    """
    length = numbers.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=numbers.device).tril()  # [L, L]
    seen = numbers[:, None, :]  # [B, 1, L]
    sees = numbers[:, :, None]  # [B, L, 1]
    allowed = (seen == 0) | (seen == sees)  # [B, L, L]
    return (causal & allowed)[:, None]


def visible_blocks(numbers: Tensor) -> BlockMask:
    """What `visible` says, as a rule for FlexAttention.

    It skips the blocks of the mask in which nobody sees anybody.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        # Tensor operations alone: FlexAttention maps this rule over all places at once.
        owner = numbers[row, key]
        return (query >= key) & ((owner == 0) | (owner == numbers[row, query]))

    batch, length = numbers.shape
    # None: all heads share one mask.
    return create_block_mask(sees, batch, None, length, length, device=str(numbers.device))


def positions_and_mask(sequences: Sequence[Packed]) -> tuple[Tensor, Tensor]:
    """Positions `[B, L]` and who-sees-whom `[B, 1, L, L]`, where positions have one axis."""
    # As many as all of a sequence's tokens are enough, [1, L] each.
    counted = [torch.arange(len(sequence.ids))[None] for sequence in sequences]
    return positions(sequences, counted)[0], visible(segments(sequences))


def targets(sequences: Sequence[Packed]) -> tuple[Tensor, Tensor]:
    """Where to compute logits, `[B, L]` bool, and the token ids `[N]` expected there.

    The ids are in row-major order.
    """
    keep = torch.zeros(len(sequences), _longest(sequences), dtype=torch.bool)  # [B, L]
    labels: list[int] = []
    for row, sequence in enumerate(sequences):
        keep[row, sequence.keep] = True
        labels += sequence.labels
    return keep, torch.tensor(labels)


def questions_of(sequence: Packed) -> list[int]:
    """Of each label of a sequence, the number of the dialogue that it is in."""
    owners: list[int] = []  # of each token behind the prefix
    for number, size in enumerate(sequence.blocks):
        owners += [number] * size
    # A label stands right behind the place that predicts it.
    found = []
    for place in sequence.keep:
        behind = place + 1 - sequence.prefix
        found.append(owners[behind])
    return found


def _longest(sequences: Sequence[Packed]) -> int:
    """L: the length that the others are padded to."""
    return max(len(sequence.ids) for sequence in sequences)
