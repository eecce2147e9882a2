"""Training with question gates: a clip with a gate's residual, and the same clip without it.

Every sequence is there twice, and the expected loss of a gate that is drawn weighs the two: see
`pave.fusion.gate`. All that training knows of gates is here. A run has a `Gating`, which gives each
sequence its `GateLesson`; of the lessons of a batch come its `GateTerms`, which weigh the losses.

Some clips are for the gates alone. On clips that they learn from, fusion and LoRA make nearly every
question a little easier, those about the picture too, so a gate that learnt there would be open for
all of them. It is to say where the channel helps on clips that are new.

Of n channels with a gate, all 2^n ways to show a clip would be needed for the expected loss

    L = sum over g in {open, closed}^n of  P(g) loss(g),   P(g) = product over c of P_c(g_c)

and for its gradient by the logit x_c of gate c, p_c being its probability of being open,

    dL/dx_c = p_c (1 - p_c) sum over g of the others of  P(g) (loss(g, open) - loss(g, closed))

Instead one gate, the tested one, is drawn among the n, and a fair coin for each of the others. Both
rows of a sequence have the others as the coins fell, and

    estimate = 2^(n-1) P(others as they fell) (p_c loss(open) + (1 - p_c) loss(closed))

has the mean L, for every c. Its gradient by x_c, times n since c is the tested one in one sequence
of n, has the mean dL/dx_c; the other gates get none. The draws know nothing of the weights, so they
follow from seed and position, as all else that a sequence is made of. For n = 1 nothing is drawn.
Weights are at most 2^(n-1): where a gate has made up its mind, half of the sequences that test
another one count little.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor

from pave.bases import Base
from pave.data import ClipFeatures, Packed, Record
from pave.data.packing import questions_of
from pave.errors import RecordError
from pave.fusion.gate import QuestionGate
from pave.model import PatchedModel
from pave.patches.gates import gated_parts, muted, question_vectors

OPEN, CLOSED = 1, -1
"""How a gate is in a row; 0 is a channel that the clip does not have."""
MEANT = 4096
"""Distinct questions of which the mean is taken."""


@dataclass(frozen=True)
class GateLesson:
    """What one sequence teaches question gates.

    Attributes:
        asked: The question of each dialogue in the sequence, in its own words.
        tested: Name of the tokens that are there in one row and muted in the other; empty where the
            clip has none that a gate could mute.
        others: Name of further such tokens -> `OPEN` or `CLOSED`, in both rows.
        alone: Whether fusion and LoRA learn nothing from it, and the tested gate alone does.
    """

    asked: Sequence[str]
    tested: str = ""
    others: Mapping[str, int] = field(default_factory=dict)
    alone: bool = False

    @property
    def sides(self) -> list[dict[str, int]]:
        """How the gates are in each of its rows."""
        if not self.tested:
            return [{}]
        opened = {**self.others, self.tested: OPEN}
        closed = {**self.others, self.tested: CLOSED}
        return [opened, closed]

    def shown(self, features: ClipFeatures) -> Iterator[ClipFeatures]:
        """The clip as each of its rows shows it."""
        for sides in self.sides:
            closed = [name for name, side in sides.items() if side == CLOSED]
            channels = dict(muted(features.channels, closed))
            yield replace(features, channels=channels)


@dataclass(frozen=True)
class Gating:
    """The question gates of a run.

    Attributes:
        names: Of the tokens that each gate mutes.
        clips: Numbers of the clips, or cells, from which gates alone learn.
    """

    names: Sequence[str]
    clips: Collection[int]

    def lesson(
        self, clip: int, asked: Sequence[str], features: ClipFeatures, chance: random.Random
    ) -> GateLesson:
        """What a sequence about a clip teaches.

        Args:
            clip: Its number.
            asked: The question of each dialogue.
            features: Its tokens.
            chance: Draws the tested gate and how the others are.
        """
        present = []
        # In the order of the patch's channels, so that draws do not depend on the clip's.
        for name in self.names:
            tokens = features.channels.get(name)
            if tokens is not None and tokens.values.numel():
                present.append(name)
        if not present:
            return GateLesson(asked)  # a gate could learn nothing, so the rest may
        tested = chance.choice(present)
        others = {}
        for name in present:
            if name != tested:
                others[name] = chance.choice((OPEN, CLOSED))
        return GateLesson(asked, tested, others, clip in self.clips)


@dataclass(frozen=True)
class GateTerms:
    """What question gates weigh in a batch: C gates, K questions, N tokens to predict.

    Attributes:
        names: `Part.key` of each gate.
        questions: `[K, D]`, what gates read of them.
        owners: `[N]` the question that each token answers.
        sides: `[C, N]` how each gate is in the row of each token; 0 without its channel.
        tested: `[C, N]` bool, the gate by which the two rows of a token differ.
        alone: `[N]` bool, whether a token is for gates alone.

    Example:
        >>> rows, yes = torch.tensor([[OPEN, CLOSED]]), torch.tensor([True, True])
        >>> terms = GateTerms(["a"], torch.zeros(1, 2), torch.tensor([0, 0]), rows, yes[None], yes)
        >>> terms.expected(torch.tensor([1.0, 3.0]), {"a": QuestionGate(2)})  # it is undecided
        tensor(2., grad_fn=<SumBackward0>)
    """

    names: Sequence[str]
    questions: Tensor
    owners: Tensor
    sides: Tensor
    tested: Tensor
    alone: Tensor

    @property
    def counted(self) -> Tensor:
        """`[N]` bool: all tokens but those of second rows, which answer the same once more."""
        second = self.tested & (self.sides == CLOSED)  # [C, N]
        return ~second.any(0)

    def moved(self, device: torch.device) -> GateTerms:
        """The same on a device."""
        return replace(
            self,
            questions=self.questions.to(device),
            owners=self.owners.to(device),
            sides=self.sides.to(device),
            tested=self.tested.to(device),
            alone=self.alone.to(device),
        )

    def expected(self, losses: Tensor, gates: Mapping[str, QuestionGate]) -> Tensor:
        """The losses to expect, added up; LoRA and fusion learn from some, and gates from others.

        Args:
            losses: `[N]`, the share of each token in the loss of its row.
            gates: By name.

        Returns:
            A number. Its gradient by the gates is that of the estimate above.
        """
        logits = torch.stack([gates[name](self.questions) for name in self.names])  # [C, K]
        # sigmoid(-x) is 1 - sigmoid(x), without the rounding near 1.
        chances = torch.sigmoid(logits[:, self.owners] * self.sides)  # [C, N], of being so
        chances = chances.masked_fill(self.sides == 0, 1.0)
        count = self.sides.abs().sum(0)  # [N], n of each token's clip
        others = chances.detach().masked_fill(self.tested, 1.0).prod(0)  # [N]
        own = chances.masked_fill(~self.tested, 1.0).prod(0)  # [N], of the tested one
        # Each coin has shown one of two sides.
        weights = own * others * 2.0 ** (count - 1).clamp_min(0)
        # n times the gradient, and the value as it is.
        steep = weights.detach() + count * (weights - weights.detach())
        for_gates = losses.detach() * steep
        for_rest = losses * weights.detach()
        return torch.where(self.alone, for_gates, for_rest).sum()


def gate_terms(
    base: Base,
    names: Sequence[str],
    taught: Sequence[tuple[GateLesson, Sequence[Packed]]],
) -> GateTerms:
    """What gates weigh in a batch.

    Args:
        base: Embeds the questions.
        names: `Part.key` of each gate.
        taught: Of each sample its lesson, and its sequences, all of which are in each of its rows.
    """
    questions: list[str] = []
    # One tensor a row of the batch, with a column for each of its n tokens to predict.
    owners: list[Tensor] = []
    sides: list[Tensor] = []
    tested: list[Tensor] = []
    alone: list[Tensor] = []
    for lesson, sequences in taught:
        first = len(questions)
        questions += lesson.asked
        for row in lesson.sides:
            states, in_test = _columns(names, row, lesson.tested)  # [C, 1] each
            for sequence in sequences:
                own = torch.tensor(questions_of(sequence))  # [n]
                owners.append(first + own)
                sides.append(states.expand(-1, len(own)))
                tested.append(in_test.expand(-1, len(own)))
                alone.append(torch.full_like(own, lesson.alone, dtype=torch.bool))
    return GateTerms(
        names=names,
        questions=question_vectors(base, questions),
        owners=torch.cat(owners),
        sides=torch.cat(sides, 1),
        tested=torch.cat(tested, 1),
        alone=torch.cat(alone),
    )


def _columns(
    names: Sequence[str],
    row: Mapping[str, int],
    tested: str,
) -> tuple[Tensor, Tensor]:
    """How each gate is in a row, and whether it is the tested one, `[C, 1]` each."""
    states = torch.zeros(len(names), 1, dtype=torch.long)
    in_test = torch.zeros(len(names), 1, dtype=torch.bool)
    for number, name in enumerate(names):
        states[number] = row.get(name, 0)
        in_test[number] = name == tested
    return states, in_test


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
    wanted = round(share * len(heard))
    # One for the gates at least, and one for the rest.
    count = min(max(1, wanted), len(heard) - 1)
    # Seeded with text, which Python hashes alike on every machine.
    drawn = random.Random(f"{seed}/gate").sample(list(heard), count)
    numbers: set[int] = set()
    for key in drawn:
        numbers.update(members[key])
    return frozenset(numbers)


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
