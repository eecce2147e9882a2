"""What is trained when: plans that are a function of seed and position alone.

So a resumed run continues with the very batches it would have seen, however it was interrupted, and
several processes share the work without talking.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol


class Plan:
    """Which questions of which clip share a sequence, for ever.

    Every epoch uses each question once: the questions of a clip are shuffled and cut into the
    fewest equal parts of at most `questions` each, and the parts of all clips are shuffled. Epochs
    follow one another without a gap.

    Args:
        sizes: Number of questions of each clip.
        questions: Most questions in one sequence.
        seed: Of all shuffling.

    Example:
        >>> plan = Plan([3, 1], questions=2, seed=0)
        >>> plan.per_epoch, sorted(len(part) for _, part in (plan[i] for i in range(3)))
        (3, [1, 1, 2])
    """

    def __init__(self, sizes: Sequence[int], questions: int, seed: int) -> None:
        """Count the sequences of an epoch; nothing is drawn yet."""
        self.sizes = list(sizes)
        self.questions = questions
        self.seed = seed
        self.per_epoch = sum(math.ceil(size / questions) for size in sizes)
        # The epoch that was drawn last, and its sequences.
        self._epoch = -1
        self._parts: list[tuple[int, list[int]]] = []

    def __getitem__(self, position: int) -> tuple[int, list[int]]:
        """`(clip, its questions)` of the sequence at a position of the endless plan."""
        epoch, within = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            # Drawn once an epoch; a resumed run lands in the middle of one.
            self._parts = self._draw(epoch)
            self._epoch = epoch
        return self._parts[within]

    def _draw(self, epoch: int) -> list[tuple[int, list[int]]]:
        """The sequences of an epoch, in their order."""
        # Seeded with text, which Python hashes alike on every machine.
        chance = random.Random(f"{self.seed}/{epoch}")
        parts: list[tuple[int, list[int]]] = []
        for clip, size in enumerate(self.sizes):
            order = list(range(size))
            chance.shuffle(order)
            count = math.ceil(size / self.questions)
            # Every count-th question: parts differ in size by one at most.
            parts += [(clip, order[start::count]) for start in range(count)]
        chance.shuffle(parts)
        return parts


class Schedule(Protocol):
    """What is trained when, for ever: a function of seed and position alone.

    Attributes:
        questions: Most questions in one sequence.
        per_epoch: Sequences in which every question of the records is used once.
        seed: Of all drawing.
    """

    questions: int
    per_epoch: int
    seed: int

    def __getitem__(self, position: int) -> tuple[int, list[int]]:
        """`(group of records, its questions)` of the sequence at a position."""
        ...


class Mixture:
    """Two plans in one: the sequences of the second stand evenly between those of the first.

    Args:
        plan: Of the records as they are.
        cells: Of the cells; its groups are numbered on from those of `plan`.
        share: Share of the sequences that are cells.

    Example:
        >>> mixture = Mixture(Plan([1], 1, seed=0), Plan([1], 1, seed=0), share=0.25)
        >>> [mixture[position][0] for position in range(8)]
        [0, 0, 0, 1, 0, 0, 0, 1]
    """

    def __init__(self, plan: Plan, cells: Plan, share: float) -> None:
        """Count an epoch: each question once, with its share of cells in between."""
        self.plan = plan
        self.cells = cells
        self.share = share
        self.questions = plan.questions
        self.seed = plan.seed
        self.per_epoch = cells.per_epoch
        if share < 1:  # else there is nothing but cells
            self.per_epoch = math.ceil(plan.per_epoch / (1 - share))

    def __getitem__(self, position: int) -> tuple[int, list[int]]:
        """`(group, its questions)` of the sequence at a position."""
        before = self._cells_in(position)
        if self._cells_in(position + 1) == before:
            return self.plan[position - before]
        group, chosen = self.cells[before]
        # Behind the clips, as `Lessons.groups` has them.
        return len(self.plan.sizes) + group, chosen

    def _cells_in(self, sequences: int) -> int:
        """How many of the first sequences are cells."""
        return math.floor(sequences * self.share)


class JointPlan:
    """Several plans in one: each batch of sequences comes from one of them, drawn at random.

    Args:
        plans: The plan of each file.
        groups: How many groups of records each has; they are numbered on from plan to plan.
        shares: Probability of each.
        batch: Sequences of one forward pass.
        seed: Of the drawing.

    Example:
        >>> one, other = Plan([1, 1], 1, seed=0), Plan([1], 1, seed=0)
        >>> joint = JointPlan([one, other], [2, 1], [0.5, 0.5], batch=2, seed=0)
        >>> [joint[position][0] == 2 for position in range(8)]
        [True, True, True, True, False, False, False, False]
    """

    def __init__(
        self,
        plans: Sequence[Schedule],
        groups: Sequence[int],
        shares: Sequence[float],
        *,
        batch: int,
        seed: int,
    ) -> None:
        """Count an epoch: as many sequences as those of all plans."""
        self.plans = list(plans)
        self.batch = batch
        self.seed = seed
        self.questions = plans[0].questions
        self.per_epoch = sum(plan.per_epoch for plan in plans)
        self._firsts = [0, *accumulate(groups)]  # number of each plan's first group
        self._shares = list(shares)
        self._chance = random.Random(f"{seed}/files")
        # Of each batch its plan, and how many batches that plan had before.
        self._drawn: list[tuple[int, int]] = []
        self._counts = [0] * len(plans)

    def __getitem__(self, position: int) -> tuple[int, list[int]]:
        """`(group, its questions)` of the sequence at a position."""
        number, within = divmod(position, self.batch)
        plan, before = self._draw(number)
        group, chosen = self.plans[plan][before * self.batch + within]
        return self._firsts[plan] + group, chosen

    def _draw(self, number: int) -> tuple[int, int]:
        """The plan of a batch, and how many batches of that plan come before it."""
        # Always from the first on, so that a resumed run draws as the one that was stopped.
        while len(self._drawn) <= number:
            (plan,) = self._chance.choices(range(len(self.plans)), self._shares)
            self._drawn.append((plan, self._counts[plan]))
            self._counts[plan] += 1
        return self._drawn[number]
