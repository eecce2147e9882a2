"""Arms that learn the answers from an encoder's tokens, or from the questions alone.

They answer beside the arms that are language models, so that every table says of each kind of
question whether the tokens hold the answer (`pave.evaluate.token_probe`,
`pave.evaluate.attention_probe`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from itertools import chain
from typing import TypeAlias

from pave.answer.batches import cut
from pave.data import Record, group_by_clip, read_records
from pave.errors import ConfigError, RecordError
from pave.evaluate.attention_probe import attend
from pave.evaluate.evaluation import Evaluation
from pave.evaluate.probe_clips import ProbeClips
from pave.evaluate.probe_examples import Example, prior
from pave.evaluate.probe_memory import memory_of
from pave.evaluate.probe_pooling import PooledClips, pooled_clips
from pave.evaluate.token_probe import probe
from pave.tasks.items import references_of
from pave.texts import counted
from pave.tokens import Tokens

MOST_CLIPS = 2000
"""Most training clips that a probe learns from."""

Examples: TypeAlias = dict[str, Example]
"""Record id -> what a probe reads of the record."""

Said: TypeAlias = dict[str, str]
"""Record id -> what is answered."""


class TokenArm:
    """A token probe, or the most frequent answers.

    Args:
        run: The evaluation; `config.train_records` are learnt from.
        arm: Its name.

    Attributes:
        notes: See `AtWork`.

    Raises:
        RecordError: If there is nothing to learn from.
    """

    def __init__(self, run: Evaluation, arm: str) -> None:
        self.run = run
        self.notes: list[str] = []
        self._arm = arm
        self._spec = run.arms[arm]
        if run.config.train_records is None:  # which the settings refuse
            raise ConfigError(f"arm {arm!r}: set the records to learn from (train_records)")
        self._clips = ProbeClips(run, arm)
        train = self._apart(read_records(run.config.train_records))
        if not train:
            raise RecordError(
                f"arm {arm!r}: no record of {run.config.train_records} is left to learn from; "
                "the training clips must differ from the clips that are asked about"
            )
        self._said = self._learn(train)

    def batches(self) -> list[list[Record]]:
        """Whole clips in the order of the file."""
        return cut(self.run.asked, self.run.config.batch)

    def answer(self, batch: Sequence[Record]) -> dict[str, str]:
        """Record id -> what the probe says."""
        return {record.id: self._said[record.id] for record in batch}

    def prompt_tokens(self) -> None:
        """It reads no prompt."""

    def _apart(self, records: Sequence[Record]) -> list[Record]:
        """Training records of clips that are not asked about, the first ones."""
        # By content: a copy of a clip that is asked about would tell its answers.
        asked = set(map(self._clips.content, self.run.asked))
        clips = group_by_clip(records)
        kept = []
        for members in clips:
            content = self._clips.content(members[0])
            if content not in asked:
                kept.append(members)
        lost = len(clips) - len(kept)
        if lost > 0:
            what = counted(lost, "training clip is", "training clips are")
            self._note(f"{what} asked about, and therefore left out")
        if len(kept) > MOST_CLIPS:
            self._note(f"it learns from the first {MOST_CLIPS:,} of {len(kept):,} training clips")
        first = kept[:MOST_CLIPS]
        return list(chain.from_iterable(first))

    def _learn(self, train: Sequence[Record]) -> Said:
        """Learn from training records, and answer everything that is asked."""
        families = _by_family(self._examples(train))
        asked = _by_family(self._examples(self.run.asked))
        said: Said = {}
        known: dict[str, Examples] = {}
        for family, questions in asked.items():
            learnt = families.get(family, {})
            said |= self._guesses(family, learnt, questions)
            if learnt:
                known[family] = questions
        if self._spec.kind == "attention":
            said |= self._attended(train, known)
            self._tell(1, 1)
            return said
        clips = None
        if self._spec.kind != "prior":
            clips = pooled_clips(*self._read(train))
        for number, family in enumerate(known, 1):
            if clips is not None:
                said |= self._pooled(clips, families[family], known[family])
            self._tell(number, len(known))
        return said

    def _guesses(self, family: str, learnt: Examples, asked: Examples) -> Said:
        """What stays where a clip has no tokens: the most frequent answers of the family."""
        if not learnt:
            self._note(
                f"there are no training records of kind {family}, so it gives no answers there"
            )
            return dict.fromkeys(asked, "")
        answers = prior(list(learnt.values()), list(asked.values()))
        return dict(zip(asked, answers, strict=True))

    def _attended(self, train: Sequence[Record], asked: Mapping[str, Examples]) -> Said:
        """What the attention probe, which learns all families together, says to what it hears."""
        seed = self.run.config.seed
        memory = memory_of(*self._read(train), seed=seed)
        read = _with_tokens(self._examples(train), memory.rows)
        families = {example.family for example in read.values()}
        heard: Examples = {}
        for family, questions in asked.items():
            # Of the others it has learnt nothing.
            if family in families:
                heard |= _with_tokens(questions, memory.rows)
        if not heard:
            return {}
        answers = attend(
            memory,
            list(read.values()),
            list(heard.values()),
            seed=seed,
        )
        return dict(zip(heard, answers, strict=True))

    def _pooled(self, clips: PooledClips, learnt: Examples, asked: Examples) -> Said:
        """What a pooled probe says to the questions of one family that it hears."""
        kind = self._spec.kind
        assert kind in ("linear", "mlp")
        read = _with_tokens(learnt, clips.rows)
        heard = _with_tokens(asked, clips.rows)
        if not read or not heard:  # clips of other families have tokens
            return {}
        answers = probe(
            kind,
            clips,
            list(read.values()),
            list(heard.values()),
            seed=self.run.config.seed,
        )
        return dict(zip(heard, answers, strict=True))

    def _examples(self, records: Sequence[Record]) -> Examples:
        """What a probe reads of records."""
        found = {}
        for record in records:
            found[record.id] = Example(
                clip=self._clips.content(record),
                question=_whole_question(record),
                answer=references_of(record)[0],
                family=str(record.meta.get("family", "other")),
            )
        return found

    def _read(self, train: Sequence[Record]) -> tuple[Mapping[str, Tokens], Mapping[str, Tokens]]:
        """Tokens of the clips that are learnt from and of those that are asked about.

        Raises:
            RecordError: If no clip of either kind has any.
        """
        learnt = self._clips.read(train)
        asked = self._clips.read(self.run.asked)
        if not learnt or not asked:
            which = "asked about" if learnt else "learnt from"
            raise RecordError(
                f"arm {self._arm!r}: no clip that is {which} has the {self._clips.channel} channel"
            )
        # Both of all clips, so that nothing is lost without a word.
        self._note_silent("training clip", train, learnt)
        self._note_silent("asked clip", self.run.asked, asked)
        return learnt, asked

    def _note_silent(self, what: str, records: Sequence[Record], found: Sized) -> None:
        """Say how many clips have no tokens."""
        clips = group_by_clip(records)
        silent = len(clips) - len(found)
        if silent > 0:
            self._note(f"without {self._clips.channel} tokens: {counted(silent, what)}")

    def _tell(self, done: int, total: int) -> None:
        if self.run.progress is not None:
            self.run.progress(f"probe {self._arm}", done, total)

    def _note(self, text: str) -> None:
        self.notes.append(f"{self._arm}: {text}")


def _whole_question(record: Record) -> str:
    """What is asked; the earlier turns are a part of it."""
    *earlier, last = record.turns
    texts = []
    for turn in earlier:
        texts += [turn.question, turn.answer or ""]
    texts.append(last.question)
    return "\n".join(texts)


def _with_tokens(examples: Examples, rows: Mapping[str, int]) -> Examples:
    """Those whose clip has tokens."""
    return {name: example for name, example in examples.items() if example.clip in rows}


def _by_family(examples: Examples) -> dict[str, Examples]:
    """Family -> its examples, families in the order in which they come."""
    families: dict[str, Examples] = {}
    for name, example in examples.items():
        families.setdefault(example.family, {})[name] = example
    return families
