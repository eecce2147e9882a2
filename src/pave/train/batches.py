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
            self._epoch, self._parts = epoch, self._draw(epoch)
        return self._parts[within]

    def _draw(self, epoch: int) -> list[tuple[int, list[int]]]:
        chance = random.Random(f"{self.seed}/{epoch}")
        parts = []
        for clip, size in enumerate(self.sizes):
            order = list(range(size))
            chance.shuffle(order)
            count = math.ceil(size / self.questions)
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
        prompt: str = "{question}",
    ) -> None:
        """Check that there is something to learn in each record."""
        self.base, self.features, self.prompt = base, features, prompt
        self.groups, self.plan, self.length = groups, plan, length
        for record in (record for group in groups for record in group):
            if record.turns[-1].answer is None:
                raise RecordError(
                    f"record {record.id}: its last question has no answer to train on; add it or "
                    "remove the record"
                )

    def __len__(self) -> int:
        """Sequences in the whole run, all epochs."""
        return self.length

    def __getitem__(self, position: int) -> Sample:
        """Read, encode and pack one sequence."""
        clip, chosen = self.plan[position]
        records = [self.groups[clip][index] for index in chosen]
        features = self._varied(self.features[records[0]], position)
        # One call for all records, because the placeholders of a long clip take longer to tokenise
        # than all questions.
        turns = [
            (self.prompt.replace("{question}", turn.question), turn.answer)
            for record in records
            for turn in record.turns
        ]
        prompt = self.base.encode_prompt(features.clip.text, turns)
        rest = iter(prompt.turns)
        prompts = [replace(prompt, turns=[next(rest) for _ in record.turns]) for record in records]
        return Sample(pack(prompts), features)

    def _varied(self, features: ClipFeatures, position: int) -> ClipFeatures:
        """What encoders may vary in cached tokens (a random part of the cameras), drawn from seed and position alone.

        Patches that listen to one channel draw alike, whatever they are called.
        """
        channels = dict(features.channels)
        for name, encoder in self.features.encoders.items():
            vary = getattr(encoder, "vary", None)
            if vary is not None and name in channels:
                channels[name] = vary(
                    channels[name], random.Random(f"{self.plan.seed}/{position}/{encoder.channel}")
                )
        return replace(features, channels=channels)
