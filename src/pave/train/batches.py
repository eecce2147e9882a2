"""From groups of records to sequences: a fixed plan of what is trained when.

The plan is a function of seed and position alone. So a resumed run continues with the very batches
it would have seen, however it was interrupted, and several processes share the work without
talking.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch.utils.data import Dataset

from pave.bases.base import Base
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


@dataclass(frozen=True)
class Sample:
    """One sequence and the clip it is about."""

    packed: Packed
    features: ClipFeatures


class Sequences(Dataset[Sample]):
    """The plan's sequences with their features, as many as the run will take.

    Args:
        base: Makes the token ids.
        features: Cached tokens of the clips.
        groups: Records by clip.
        plan: What goes together.
        length: Sequences in the whole run.
        prompt: How a question is put, with `{question}` in it.

    Raises:
        RecordError: If a record lacks an answer.
    """

    def __init__(
        self,
        base: Base,
        features: Features,
        groups: Sequence[Sequence[Record]],
        plan: Plan,
        length: int,
        *,
        prompt: str = "{question}",
    ) -> None:
        """Check that there is something to learn in each record."""
        self.base, self.features, self.prompt = base, features, prompt
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
        # One call for all records, because the placeholders of a long clip take longer to tokenise
        # than all questions.
        turns: list[tuple[str, str | None]] = []
        for record in records:
            turns += [(self._question(turn.question), turn.answer) for turn in record.turns]
        prompt = self.base.encode_prompt(features.clip.text, turns)
        # Give each record its own turns back: a dialogue must not see another one.
        prompts = []
        taken = 0
        for record in records:
            end = taken + len(record.turns)
            own, further = prompt.turns[taken:end], prompt.further[taken:end]
            prompts.append(replace(prompt, turns=own, further=further))
            taken = end
        return Sample(pack(prompts), features)

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
                turns = [(self._question(turn.question), turn.answer) for turn in record.turns]
                must_fit(self.base, clip, record, turns)

    def _question(self, question: str) -> str:
        """The question as it is put; not by `format`, since prompts may hold other braces."""
        return self.prompt.replace("{question}", question)

    def _varied(self, features: ClipFeatures, position: int) -> ClipFeatures:
        """What encoders vary in cached tokens, such as a random part of the cameras.

        It is drawn from seed and position alone. Patches that listen to one channel draw alike,
        whatever they are called.
        """
        channels = dict(features.channels)
        for name, encoder in self.features.encoders.items():
            vary = getattr(encoder, "vary", None)  # not every encoder varies its tokens
            if vary is None or name not in channels:
                continue
            chance = random.Random(f"{self.plan.seed}/{position}/{encoder.channel}")
            channels[name] = vary(channels[name], chance)
        return replace(features, channels=channels)


def _check_answer(record: Record) -> None:
    """Earlier turns without an answer are context; the last one must have something to learn."""
    if record.turns[-1].answer is None:
        raise RecordError(
            f"record {record.id}: its last question has no answer to train on; add it or "
            "remove the record"
        )
