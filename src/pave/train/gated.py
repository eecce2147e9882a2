"""Training with a question gate: every question behind two prefixes, with the residual and without.

A batch has a row with the channel and, below it, the same row with the channel muted. The expected
loss of a gate that is drawn weighs their answers: see `pave.fusion.gate`.

Some clips are for the gate alone. On clips that they learn from, fusion and LoRA make nearly every
question a little easier, those about the picture too, so a gate that learnt there would be open for
all of them. It is to say where the channel helps on clips that are new.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from pave.bases import Base
from pave.data import ClipFeatures, Packed, Record
from pave.data.packing import questions_of
from pave.errors import RecordError
from pave.model import PatchedModel
from pave.patches.gates import gated_parts, muted, question_vectors
from pave.train.batches import Sample

OPEN, CLOSED, UNGATED = 1, -1, 0
"""Which of the two rows a label is in; a clip without the channel has one row alone."""
MEANT = 4096
"""Distinct questions of which the mean is taken."""


def gate_clips(
    groups: Sequence[Sequence[Record]],
    channels: Collection[str],
    share: float,
    seed: int,
    *,
    whole_videos: bool = False,
) -> frozenset[int]:
    """Numbers of the clips from which gates alone learn.

    A gate learns nothing from a clip without its channel, so none of those is drawn.

    Args:
        groups: The training records, clip by clip.
        channels: Those that have a gate.
        share: Of the clips that have such a channel; at least one, and never all.
        seed: Of the choice.
        whole_videos: Whether all clips of a video are drawn together: of a mixture, several files
            may show it.

    Raises:
        RecordError: If there are not two such clips, one for gates and one for the rest.
    """
    members: dict[str, list[int]] = {}  # what is drawn -> numbers of its clips
    heard: dict[str, None] = {}  # what of it has a channel with a gate, in order
    for number, group in enumerate(groups):
        record = group[0]
        key = record.video if whole_videos else str(number)
        members.setdefault(key, []).append(number)
        if record.channels.keys() & set(channels):
            heard[key] = None
    if len(heard) < 2:
        raise RecordError(
            f"fusion.question_gate needs two clips with the channel {' or '.join(channels)}, one "
            f"for the gate and one for the rest of the patch; the records have {len(heard)}"
        )
    count = min(max(1, round(share * len(heard))), len(heard) - 1)
    # Seeded with text, which Python hashes alike on every machine.
    drawn = random.Random(f"{seed}/gate").sample(list(heard), count)
    return frozenset(chain.from_iterable(members[key] for key in drawn))


def centre_gates(patched: PatchedModel, groups: Sequence[Sequence[Record]]) -> None:
    """Tell the gates that train the mean of the questions that they will be asked.

    Args:
        patched: The model.
        groups: The training records, clip by clip.
    """
    parts = gated_parts(patched.patches)
    if not parts:
        return
    asked: dict[str, None] = {}  # each question once, in the order of the records
    for record in chain.from_iterable(groups):
        asked.setdefault(record.turns[-1].question)
        if len(asked) == MEANT:
            break
    mean = question_vectors(patched.base, list(asked)).mean(0)
    for part in parts:
        assert part.gate is not None
        part.gate.mean.copy_(mean)


def gated_rows(samples: Sequence[Sample], name: str) -> Iterator[tuple[Packed, ClipFeatures, int]]:
    """The rows of a batch, and which of the two each is.

    Args:
        samples: The sequences.
        name: Of the tokens that the gate mutes.
    """
    for sample in samples:
        features = sample.features
        if name not in features.channels or not features.channels[name].values.numel():
            yield sample.packed, features, UNGATED
            continue
        yield sample.packed, features, OPEN
        channels = dict(muted(features.channels, [name]))
        yield sample.packed, replace(features, channels=channels), CLOSED


def gate_inputs(base: Base, samples: Sequence[Sample], name: str) -> tuple[Tensor, Tensor]:
    """What the gate is asked in a batch, and what its answers weigh.

    Args:
        base: Embeds the questions.
        samples: The sequences.
        name: Of the tokens that the gate mutes.

    Returns:
        `[K, D]` questions, and `[3, N]`: for each label its question, which row it is in, and
        whether it is for the gate.
    """
    questions: list[str] = []
    owners: list[int] = []
    sides: list[int] = []
    for_gate: list[int] = []
    for sample in samples:
        first = len(questions)
        questions += sample.asked
        own = [first + number for number in questions_of(sample.packed)]
        for _, _, side in gated_rows([sample], name):
            owners += own
            sides += [side] * len(own)
            # Without the channel there is nothing that a gate could learn.
            for_gate += [int(sample.for_gate and side != UNGATED)] * len(own)
    return question_vectors(base, questions), torch.tensor([owners, sides, for_gate])


def gated_loss(losses: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of the losses to expect; LoRA and fusion learn from some clips, the gate from others.

    Args:
        losses: `[N]` negative log-probability of each label.
        logits: `[K]`, of the gate being open for each question.
        labels: `[3, N]` from `gate_inputs`.

    Example:
        >>> labels = torch.tensor([[0, 0], [OPEN, CLOSED], [1, 1]])
        >>> gated_loss(torch.tensor([1.0, 3.0]), torch.zeros(1), labels)
        tensor(2.)
    """
    owners, sides, for_gate = labels
    # sigmoid(-x) is 1 - sigmoid(x), without the rounding near 1.
    weights = torch.sigmoid(logits[owners] * sides)
    weights = torch.where(sides == UNGATED, torch.ones_like(weights), weights)
    return torch.where(for_gate == 1, losses.detach() * weights, losses * weights.detach()).sum()
