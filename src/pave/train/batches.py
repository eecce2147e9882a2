"""From groups of records to the sequences of a run, in the order of its plan."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch.utils.data import Dataset

from pave.bases.base import Base
from pave.bases.prompt import Prompt
from pave.data import ClipFeatures, Features, Packed, Record, pack
from pave.data.lengths import must_fit
from pave.errors import RecordError
from pave.train.gated import GateLesson, Gating
from pave.train.plans import Schedule


@dataclass(frozen=True)
class Sample:
    """One sequence and the clip it is about.

    Attributes:
        packed: The sequence.
        features: The clip's tokens.
        wrong: The question again with its wrong answer, where that cannot stand behind the same
            prefix.
        gate: What it teaches question gates, where the patch has any.
    """

    packed: Packed
    features: ClipFeatures
    wrong: Packed | None = None
    gate: GateLesson | None = None

    @property
    def sequences(self) -> list[Packed]:
        """Its sequence, and that of the wrong answer where it has one of its own."""
        if self.wrong is None:
            return [self.packed]
        return [self.packed, self.wrong]

    def shown(self) -> list[ClipFeatures]:
        """The ways to show the clip, in each of which its sequences are rows of a batch."""
        if self.gate is None:
            return [self.features]
        return list(self.gate.shown(self.features))


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
        gating: The question gates of the patch, if it has any.

    Raises:
        RecordError: If a record lacks an answer.
    """

    def __init__(  # noqa: PLR0913 - what all sequences of a run have in common, by name
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
        gating: Gating | None = None,
    ) -> None:
        """Check that there is something to learn in each record."""
        self.base = base
        self.features = features
        self.groups = groups
        self.plan = plan
        self.length = length
        self.prompt = prompt
        self.wrong = dict(wrong or {})
        self.absent = dict(absent or {})
        self.gating = gating
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
        asked: list[str] = []
        for number, record in enumerate(records, 1):
            dialogues.append(self._turns(record))
            asked.append(record.turns[-1].question)
            wrong = self.wrong.get(record.id)
            if wrong is None:
                pairs.append(0)
                continue
            # The same dialogue with another ending, right behind its own.
            *past, (question, _) = dialogues[-1]
            dialogues.append([*past, (question, wrong)])
            asked.append(record.turns[-1].question)
            pairs += [number, -number]
        prompts = self._encoded(features.clip.text, dialogues)
        gate = self._lesson(clip, asked, features, position)
        if not any(pairs):
            return Sample(pack(prompts), features, gate=gate)
        if self.plan.questions > 1:
            return Sample(pack(prompts, pairs), features, gate=gate)
        # Without a shared prefix the wrong answer makes a sequence of its own.
        right, other = prompts
        return Sample(
            packed=pack([right], [1]),
            features=features,
            wrong=pack([other], [-1]),
            gate=gate,
        )

    def _lesson(
        self, clip: int, asked: Sequence[str], features: ClipFeatures, position: int
    ) -> GateLesson | None:
        """What the sequence at a position teaches question gates."""
        if self.gating is None:
            return None
        # Of its own, so that a gate changes nothing else that is drawn.
        chance = random.Random(f"{self.plan.seed}/{position}/gates")
        return self.gating.lesson(clip, asked, features, chance)

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
                wrong = self.wrong.get(record.id)
                if wrong is not None:  # it may be the longer of the two
                    *past, (question, _) = turns
                    must_fit(self.base, clip, record, [*past, (question, wrong)])

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
