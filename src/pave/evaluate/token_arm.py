"""Arms that learn the answers from an encoder's tokens, or from the questions alone.

They answer beside the arms that are language models, so that every table says of each kind of
question whether the tokens hold the answer (`pave.evaluate.token_probe`,
`pave.evaluate.attention_probe`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pave.answer.batches import cut
from pave.cache import TokenCache
from pave.channels import Encoder, cache_key, encode_cached
from pave.data import Record, group_by_clip, read_records
from pave.errors import ConfigError, RecordError
from pave.evaluate.attention_probe import attend
from pave.evaluate.evaluation import Evaluation
from pave.evaluate.probe_examples import Example, prior
from pave.evaluate.probe_memory import memory_of
from pave.evaluate.token_probe import PooledClips, pooled_clips, probe
from pave.tasks.items import references_of
from pave.texts import counted
from pave.tokens import Tokens

MOST_CLIPS = 2000
"""Most training clips that a probe learns from."""


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
        self._tokens = _Clips(run, arm)
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
        asked = set(map(self._tokens.content, self.run.asked))
        groups = group_by_clip(records)
        kept = []
        for group in groups:
            content = self._tokens.content(group[0])
            if content not in asked:
                kept.append(group)
        if len(kept) < len(groups):
            self._note(
                f"{counted(len(groups) - len(kept), 'training clip is', 'training clips are')} "
                "asked about, and therefore left out"
            )
        if len(kept) > MOST_CLIPS:
            self._note(f"it learns from the first {MOST_CLIPS:,} of {len(kept):,} training clips")
        found: list[Record] = []
        for group in kept[:MOST_CLIPS]:
            found += group
        return found

    def _learn(self, train: Sequence[Record]) -> dict[str, str]:
        """Record id -> answer."""
        families = _by_family(train)
        said: dict[str, str] = {}
        asked: dict[str, list[Record]] = {}
        for family, questions in _by_family(self.run.asked).items():
            if family in families:
                asked[family] = questions
                continue
            self._note(
                f"there are no training records of kind {family}, so it gives no answers there"
            )
            for record in questions:
                said[record.id] = ""
        if self._spec.kind == "attention":
            return said | self._attended(train, families, asked)
        clips = None
        if self._spec.kind != "prior":
            clips = pooled_clips(*self._read(train))
        for number, (family, questions) in enumerate(asked.items(), 1):
            said |= self._family(clips, families[family], questions)
            self._tell(number, len(asked))
        return said

    def _attended(
        self,
        train: Sequence[Record],
        families: Mapping[str, Sequence[Record]],
        asked: Mapping[str, Sequence[Record]],
    ) -> dict[str, str]:
        """Answers of the attention probe, which learns all families together."""
        seed = self.run.config.seed
        learnt_tokens, asked_tokens = self._read(train)
        memory = memory_of(learnt_tokens, asked_tokens, seed=seed)
        learnt = _with_tokens(self._examples(train), memory.rows)
        said: dict[str, str] = {}
        ids: list[str] = []
        heard: list[Example] = []
        for family, records in asked.items():
            examples = self._examples(records)
            own = self._examples(families[family])
            # What stays where a clip has no tokens.
            said |= _by_id(records, prior(own, examples))
            if not _with_tokens(own, memory.rows):  # the probe never hears of this family
                continue
            for record, example in zip(records, examples, strict=True):
                if example.clip in memory.rows:
                    ids.append(record.id)
                    heard.append(example)
        if heard:
            answers = attend(memory, learnt, heard, seed=seed)
            said |= dict(zip(ids, answers, strict=True))
        self._tell(1, 1)
        return said

    def _family(
        self, clips: PooledClips | None, learnt: Sequence[Record], questions: Sequence[Record]
    ) -> dict[str, str]:
        """Answers to the questions of one family."""
        train, asked = self._examples(learnt), self._examples(questions)
        said = prior(train, asked)  # what stays where a clip has no tokens
        if clips is not None:
            heard = _with_tokens(asked, clips.rows)
            # One after the other for those that have tokens, in their order.
            answers = iter(self._probed(clips, train, heard))
            for place, example in enumerate(asked):
                if example.clip in clips.rows:
                    said[place] = next(answers)
        return _by_id(questions, said)

    def _probed(
        self, clips: PooledClips, train: Sequence[Example], asked: Sequence[Example]
    ) -> list[str]:
        """What the probe says to questions about clips that have tokens."""
        learnt = _with_tokens(train, clips.rows)
        if not learnt:  # clips of other families have some
            return prior(train, asked)
        assert self._spec.kind in ("linear", "mlp")
        return probe(self._spec.kind, clips, learnt, asked, seed=self.run.config.seed)

    def _examples(self, records: Sequence[Record]) -> list[Example]:
        found = []
        for record in records:
            # The earlier turns are a part of what is asked.
            texts = []
            for turn in record.turns[:-1]:
                texts += [turn.question, turn.answer or ""]
            question = "\n".join([*texts, record.turns[-1].question])
            clip = self._tokens.content(record)
            found.append(Example(clip, question, references_of(record)[0], _family(record)))
        return found

    def _read(self, train: Sequence[Record]) -> tuple[Mapping[str, Tokens], Mapping[str, Tokens]]:
        """Tokens of the clips that are learnt from and of those that are asked about."""
        learnt = self._tokens.read(train)
        asked = self._tokens.read(self.run.asked)
        if not learnt or not asked:
            raise RecordError(
                f"arm {self._arm!r}: no clip that is {'asked about' if learnt else 'learnt from'} "
                f"has the {self._tokens.channel} channel"
            )
        # Both of all clips, so that nothing is lost without a word.
        for what, records, found in (
            ("training", train, learnt),
            ("asked", self.run.asked, asked),
        ):
            lacking = len(group_by_clip(records)) - len(found)
            if lacking > 0:
                self._note(
                    f"without {self._tokens.channel} tokens: {counted(lacking, f'{what} clip')}"
                )
        return learnt, asked

    def _tell(self, done: int, total: int) -> None:
        if self.run.progress is not None:
            self.run.progress(f"probe {self._arm}", done, total)

    def _note(self, text: str) -> None:
        self.notes.append(f"{self._arm}: {text}")


class _Clips:
    """Tokens of clips by what they hold, not by what they are called."""

    def __init__(self, run: Evaluation, arm: str) -> None:
        self._cache = TokenCache(run.config.cache_folder)
        self._encoder: Encoder | None = None
        for name in run.patches[arm]:
            self._encoder = run.model.encoder(name)
            if self._encoder is None:
                raise ConfigError(f"arm {arm!r}: its patch has no channel, so it has no tokens")
        self._run = run
        self._known: dict[str, str] = {}

    @property
    def channel(self) -> str:
        """The encoder's channel; empty without one."""
        if self._encoder is None:
            return ""
        return self._encoder.channel

    def content(self, record: Record) -> str:
        """What tells clips apart: the content of the channel's media, else of the video."""
        media = record.channels.get(self.channel)
        known = repr((record.video, media))
        if known not in self._known:
            if media is None or self._encoder is None:
                self._known[known] = self._cache.content(record.video)
            else:
                self._known[known] = cache_key(self._cache, self._encoder, media)
        return self._known[known]

    def read(self, records: Sequence[Record]) -> Mapping[str, Tokens]:
        """Content -> tokens, of the clips that have some."""
        assert self._encoder is not None
        found: dict[str, Tokens] = {}
        clips = group_by_clip(records)
        for number, members in enumerate(clips, 1):
            media = members[0].channels.get(self.channel)
            if media is not None:
                tokens = encode_cached(self._cache, self._encoder, media)
                if tokens is not None:
                    found[self.content(members[0])] = tokens
            if self._run.progress is not None:
                self._run.progress("read", number, len(clips))
        return found


def _with_tokens(examples: Sequence[Example], rows: Mapping[str, int]) -> list[Example]:
    """Those whose clip has tokens."""
    return [example for example in examples if example.clip in rows]


def _by_family(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Family -> its records, families in the order in which they come."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(_family(record), []).append(record)
    return families


def _by_id(records: Sequence[Record], said: Sequence[str]) -> dict[str, str]:
    """Record id -> what is said to it."""
    return {record.id: text for record, text in zip(records, said, strict=True)}


def _family(record: Record) -> str:
    return str(record.meta.get("family", "other"))
