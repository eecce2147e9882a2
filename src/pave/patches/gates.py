"""Which patches' gates a question closes.

A fusion with a `question_gate` is heard by some questions and not by others. Tokens of a channel
whose gate is closed are muted: nothing is added to the visual tokens, while the patch works on in
every other way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases import Base
from pave.patches.parts import Part
from pave.patches.patch import Patch
from pave.tokens import Tokens


def gated_parts(patches: Mapping[str, Patch]) -> list[Part]:
    """The channels of patches at work that have a gate."""
    found = []
    for patch in patches.values():
        if patch.weight == 0:
            continue
        for part in patch.parts.values():
            if part.gate is None:
                continue
            found.append(part)
    return found


@torch.no_grad()
def question_vectors(base: Base, questions: Sequence[str]) -> Tensor:
    """What gates read of questions: `[K, D]`, the mean embedding of their words, of length 1.

    Args:
        base: The base, whose embeddings are frozen.
        questions: As they are asked, without what a prompt puts around them.
    """
    table = base.model.get_input_embeddings()
    rows = []
    for question in questions:
        ids = base.tokenizer(question, add_special_tokens=False)["input_ids"]
        words = table(torch.tensor(ids, dtype=torch.long, device=table.weight.device))  # [n, D]
        if not ids:  # a mean of nothing is no number
            words = words.new_zeros(1, words.shape[-1])
        rows.append(words.float().mean(0))
    if not rows:
        return torch.zeros(0, base.hidden_dim)
    return F.normalize(torch.stack(rows), dim=-1)


@torch.no_grad()
def closed_gates(base: Base, patches: Mapping[str, Patch], question: str) -> frozenset[str]:
    """The `Part.key`s of the channels that a question is answered without.

    Args:
        base: The base.
        patches: The patches; those at weight 0 are left out.
        question: As it is asked, without what a prompt puts around it.
    """
    parts = gated_parts(patches)
    if not parts:
        return frozenset()
    words = question_vectors(base, [question])  # [1, D]
    closed = set()
    for part in parts:
        assert part.gate is not None
        if float(part.gate(words)) < 0:
            closed.add(part.key)
    return frozenset(closed)


def named_apart(
    patches: Mapping[str, Patch], channels: Mapping[str, Tokens]
) -> Mapping[str, Tokens]:
    """A clip's side tokens, where channels with a gate also go by the names of their parts.

    Two patches may listen to one channel, and a gate is one patch's alone.
    """
    own = {}
    for patch in patches.values():
        found = patch.tokens_in(channels)
        for channel, part in patch.parts.items():
            if part.gate is not None and channel in found:
                own[part.key] = found[channel]
    return {**channels, **own} if own else channels


def muted(channels: Mapping[str, Tokens], closed: Collection[str]) -> Mapping[str, Tokens]:
    """A clip's side tokens, those of closed gates muted.

    Args:
        channels: See `named_apart`.
        closed: Names of parts; those that the clip lacks do not matter.
    """
    found = dict(channels)
    for name in closed:
        if name in found:
            found[name] = replace(found[name], muted=True)
    return found
