"""From groups of records to sequences: a fixed plan of what is trained when.

The plan is a function of seed and position alone. So a resumed run continues with the very batches
it would have seen, however it was interrupted, and several processes share the work without
talking.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from torch.utils.data import Dataset

from pave.bases.base import Base
from pave.bases.prompt import Prompt
from pave.data import ClipFeatures, Features, Packed, Record, pack
from pave.data.lengths import must_fit
from pave.errors import RecordError


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
        self.sizes, self.questions, self.seed = list(sizes), questions, seed
        self.per_epoch = sum(math.ceil(size / questions) for size in sizes)
        self._epoch, self._parts = -1, list[tuple[int, list[int]]]()

    def __getitem__(self, position: int) -> tuple[int, list[int]]:
        """`(clip, its questions)` of the sequence at a position of the endless plan."""
        epoch, within = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            # Drawn once an epoch; a resumed run lands in the middle of one.
            self._epoch, self._parts = epoch, self._draw(epoch)
        return self._parts[within]

    def _draw(self, epoch: int) -> list[tuple[int, list[int]]]:
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
        self.plan, self.cells, self.share = plan, cells, share
        self.questions, self.seed = plan.questions, plan.seed
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
        self.plans, self.batch, self.seed = list(plans), batch, seed
        self.questions = plans[0].questions
        self.per_epoch = sum(plan.per_epoch for plan in plans)
        self._firsts = [0, *accumulate(groups)]  # number of each plan's first group
        self._shares = list(shares)
        self._chance = random.Random(f"{seed}/files")
        self._drawn: list[
            tuple[int, int]
        ] = []  # of each batch its plan, and how many it had before
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


@dataclass(frozen=True)
class Sample:
    """One sequence and the clip it is about.

    Attributes:
        packed: The sequence.
        features: The clip's tokens.
        wrong: The question again with its wrong answer, where that cannot stand behind the same
            prefix.
    """

    packed: Packed
    features: ClipFeatures
    wrong: Packed | None = None


class Sequences(Dataset[Sample]):
    """The plan's sequences with their features, as many as the run will take.

    Args:
        base: Makes the token ids.
        features: Cached tokens of the clips.
        groups: Records by clip.
        plan: What goes together.
        length: Sequences in the whole run.
        prompt: How a question is put, with `{question}` in it.
        wrong: Id of a record -> an answer that the right one is to win against.
        absent: Channel -> probability that a clip is shown without it.

    Raises:
        RecordError: If a record lacks an answer.
    """

    def __init__(
        self,
        base: Base,
        features: Features,
        groups: Sequence[Sequence[Record]],
        plan: Schedule,
        length: int,
        *,
        prompt: str = "{question}",
        wrong: Mapping[str, str] | None = None,
        absent: Mapping[str, float] | None = None,
    ) -> None:
        """Check that there is something to learn in each record."""
        self.base, self.features, self.prompt = base, features, prompt
        self.wrong, self.absent = dict(wrong or {}), dict(absent or {})
        self.groups, self.plan, self.length = groups, plan, length
        for group in groups:
            for record in group:
                _check_answer(record)

    def __len__(self) -> int:
        """Sequences in the whole run, all epochs."""
        return self.length

    def __getitem__(self, position: int) -> Sample:
        """Read, encode and pack one sequence."""
        clip, chosen = self.plan[position]
        records = [self.groups[clip][index] for index in chosen]
        # All records are of one clip, so the first one's tokens are everybody's.
        features = self._varied(self.features[records[0]], position)
        dialogues = []
        pairs: list[int] = []
        for number, record in enumerate(records, 1):
            dialogues.append(self._turns(record))
            wrong = self.wrong.get(record.id)
            if wrong is None:
                pairs.append(0)
                continue
            # The same dialogue with another ending, right behind its own.
            *past, (question, _) = dialogues[-1]
            dialogues.append([*past, (question, wrong)])
            pairs += [number, -number]
        prompts = self._encoded(features.clip.text, dialogues)
        if not any(pairs):
            return Sample(pack(prompts), features)
        if self.plan.questions > 1:
            return Sample(pack(prompts, pairs), features)
        # Without a shared prefix the wrong answer makes a sequence of its own.
        right, other = prompts
        return Sample(pack([right], [1]), features, pack([other], [-1]))

    def _encoded(
        self, text: str, dialogues: Sequence[Sequence[tuple[str, str | None]]]
    ) -> list[Prompt]:
        """Dialogues about one clip as ids.

        One call for all, because the placeholders of a long clip take longer to tokenise than all
        questions.
        """
        turns: list[tuple[str, str | None]] = []
        for dialogue in dialogues:
            turns += dialogue
        prompt = self.base.encode_prompt(text, turns)
        # Give each its own turns back: a dialogue must not see another one.
        prompts = []
        taken = 0
        for dialogue in dialogues:
            end = taken + len(dialogue)
            own, further = prompt.turns[taken:end], prompt.further[taken:end]
            prompts.append(replace(prompt, turns=own, further=further))
            taken = end
        return prompts

    def _turns(self, record: Record) -> list[tuple[str, str | None]]:
        """A record's dialogue, as it is put."""
        return [(self._question(turn.question), turn.answer) for turn in record.turns]

    def must_fit(self, groups: Sequence[Sequence[Record]]) -> None:
        """Refuse records that are longer than the base's context, before the first step.

        Args:
            groups: Records clip by clip, whose tokens are in the cache.

        Raises:
            RecordError: If one is too long.
        """
        for group in groups:
            clip = self.features.clip(group[0])
            for record in group:
                turns = self._turns(record)
                must_fit(self.base, clip, record, turns)
                if record.id in self.wrong:  # it may be the longer of the two
                    *past, (question, _) = turns
                    must_fit(self.base, clip, record, [*past, (question, self.wrong[record.id])])

    def _question(self, question: str) -> str:
        """The question as it is put; not by `format`, since prompts may hold other braces."""
        return self.prompt.replace("{question}", question)

    def _varied(self, features: ClipFeatures, position: int) -> ClipFeatures:
        """What varies in cached tokens: a channel that is left out, a random part of the cameras.

        It is drawn from seed and position alone. Patches that listen to one channel draw alike,
        whatever they are called.
        """
        channels = dict(features.channels)
        for name, encoder in self.features.encoders.items():
            if name in channels and self._is_absent(encoder.channel, position):
                # As of a clip that lacks it: no residual, and the LoRA alone has to answer.
                del channels[name]
            vary = getattr(encoder, "vary", None)  # not every encoder varies its tokens
            if vary is None or name not in channels:
                continue
            chance = random.Random(f"{self.plan.seed}/{position}/{encoder.channel}")
            channels[name] = vary(channels[name], chance)
        return replace(features, channels=channels)

    def _is_absent(self, channel: str, position: int) -> bool:
        """Whether a channel is left out at a position."""
        if channel not in self.absent:
            return False
        # Of its own, so that what encoders vary stays as it is without it.
        chance = random.Random(f"{self.plan.seed}/{position}/{channel}/absent")
        return chance.random() < self.absent[channel]


def _check_answer(record: Record) -> None:
    """Earlier turns without an answer are context; the last one must have something to learn."""
    if record.turns[-1].answer is None:
        raise RecordError(
            f"record {record.id}: its last question has no answer to train on; add it or "
            "remove the record"
        )
