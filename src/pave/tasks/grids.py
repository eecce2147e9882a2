"""Grids of two clips: each picture with each of the two channels.

Two clips that are asked the same and answer differently, a and b, make four cells: the picture of
one with the channel of one. In two cells both come from the same clip (matched). In the other two
they disagree (conflict), and the answer shows which of them the model follows. Nothing is rendered
or encoded for it: a cell is a record that points at files and cached tokens that exist already.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pave.data import Record, group_by_clip
from pave.errors import RecordError
from pave.tasks.items import references_of

Judge = Callable[[str, Sequence[str]], bool]
"""Prediction, accepted answers -> whether it is right."""

Clip = dict[tuple[Any, ...], Record]
"""What a clip is asked -> the record that asks it."""

LOOKED_AT = 32
"""Clips that are looked at for each question of a clip, so that work grows with the records."""
CONTROL = "video"
"""`meta.channel` of a question about the picture alone: no patch should change its answer."""
NAMES = "ab"
CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(clip of the picture, clip of the channel)."""


@dataclass(frozen=True)
class Pair:
    """One question about two clips that answer it differently.

    Attributes:
        records: The clips' own records, a and b.
        clips: Name of the two clips together: pairs of the same two clips are no independent draws.
        channel: The channel that is swapped.
    """

    records: tuple[Record, Record]
    clips: str
    channel: str

    @property
    def is_visual(self) -> bool:
        """Whether the answer is in the picture, so that the channel should not change it."""
        return self.records[0].meta.get("channel") == CONTROL

    def target(self, picture: int, side: int) -> int:
        """The clip whose answer is right in a cell."""
        if self.is_visual:
            return picture
        return side

    def cell(self, picture: int, side: int) -> Record:
        """The record of a cell: the picture of one clip with the channel of one."""
        first, second = self.records
        own = self.records[picture]
        media = self.records[side].channels[self.channel]
        right = self.records[self.target(picture, side)]
        # The dialogue before the question is the same in both clips.
        *past, last = own.turns
        open_turn = last.model_copy(update={"answer": None})
        changes = {
            "id": f"{first.id} x {second.id} {NAMES[picture]}{NAMES[side]}",
            "channels": {**own.channels, self.channel: media},
            "turns": [*past, open_turn],
            "answers": list(references_of(right)),
        }
        return own.model_copy(update=changes)


@dataclass(frozen=True)
class Grids:
    """What could be paired, and what could not.

    Attributes:
        pairs: Pairs, those of the same two clips side by side.
        left_out: Why -> ids of the records that are in no pair.
    """

    pairs: list[Pair]
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, why: str, records: Iterable[Record]) -> None:
        """Note records that are in no pair."""
        ids = self.left_out.setdefault(why, [])
        for record in records:
            ids.append(record.id)

    def cells(self) -> list[Record]:
        """Every cell of every pair."""
        found = []
        for pair in self.pairs:
            # Four records in one order, so that the batches of an evaluation are always the same.
            own = [pair.cell(picture, side) for picture, side in CELLS]
            found.extend(own)
        return found


def pair_up(records: Sequence[Record], channel: str, judge: Judge, *, seed: int = 0) -> Grids:
    """Pair clips that are asked the same and answer differently.

    A clip is in one pair of clips at most, so that these are independent draws, and meets the clip
    with which it has the most such questions in common, of the first 32 a question in an order that
    the seed draws. Records that name their pair (`meta.pair`, the same for both clips) meet each
    other first.

    Args:
        records: What is asked.
        channel: The channel to swap.
        judge: How answers are told apart.
        seed: Of the order.

    Raises:
        RecordError: If no pair can be made; the message says why.
    """
    grids = Grids([])
    clips: list[Clip] = []
    for members in group_by_clip(records):
        asked: Clip = {}
        for record in members:
            key = _asked(record)
            problem = _problem(record, channel)
            if not problem and key in asked:
                problem = "an earlier clip is asked the same"
            if problem:
                grids.leave_out(problem, [record])
            else:
                asked[key] = record
        if asked:
            clips.append(asked)
    # Neighbours in a file are often alike, and whom a clip meets should not depend on that.
    random.Random(seed).shuffle(clips)
    _meet(clips, channel, judge, grids)
    if not grids.pairs:
        counts = []
        for why, ids in grids.left_out.items():
            counts.append(f"{why}: {len(ids)}")
        told = "; ".join(counts)
        raise RecordError(
            f"no two clips are asked the same question with different answers and have the "
            f"{channel} channel, so nothing can be swapped ({told or 'there are no records'})"
        )
    return grids


def _problem(record: Record, channel: str) -> str:
    """Why a record can be in no pair; empty if it can."""
    if channel not in record.channels:
        return f"has no {channel} channel"
    needs = record.meta.get("channel", channel)
    if needs not in (channel, CONTROL):
        return f"asks for another channel ({needs})"
    references_of(record)  # says which record has none
    return ""


def _asked(record: Record) -> tuple[Any, ...]:
    """What a record asks: its dialogue up to the answer, its options, and what it asks for."""
    *past, last = record.turns
    told: list[Any] = []
    for turn in past:
        told += [turn.question, turn.answer]
    # A question about sound and one about the picture are two, even in the same words.
    needs = record.meta.get("channel")
    return (*told, last.question, *record.options, needs)


def _meet(clips: Sequence[Clip], channel: str, judge: Judge, grids: Grids) -> None:
    """Pair clips one after the other, and say of the rest why not."""
    waiting: dict[Any, dict[int, None]] = {}  # what is asked -> clips without a partner, in order
    for number, asked in enumerate(clips):
        for key in asked:
            waiting.setdefault(key, {})[number] = None
    gone: set[int] = set()  # clips that have met one before their turn
    for first, second in _named(clips):
        shared = _different(clips[first], clips[second], judge)
        if shared:
            gone |= {first, second}
            for number in (first, second):
                _leave(number, clips[number], waiting)
            _join((clips[first], clips[second]), shared, channel, grids)
    for number, own in enumerate(clips):
        if number in gone:
            continue
        _leave(number, own, waiting)  # nobody meets itself
        partner, shared = _partner(own, clips, waiting, judge)
        if partner is None:
            _leave_out(own, shared, grids)
            continue
        other = clips[partner]
        gone.add(partner)
        _leave(partner, other, waiting)
        _join((own, other), shared, channel, grids)


def _named(clips: Sequence[Clip]) -> Iterator[tuple[int, int]]:
    """Clips whose records say that they are a pair; of more than two the first two."""
    mates: dict[Any, list[int]] = {}
    for number, asked in enumerate(clips):
        record = next(iter(asked.values()))
        if "pair" in record.meta:
            mates.setdefault(record.meta["pair"], []).append(number)
    for numbers in mates.values():
        if len(numbers) > 1:
            yield numbers[0], numbers[1]


def _join(clips: tuple[Clip, Clip], shared: Sequence[Any], channel: str, grids: Grids) -> None:
    """Make two clips a pair in all questions that they share."""
    own, other = clips
    for clip in clips:
        _leave_out(clip, shared, grids)
    first = shared[0]  # its ids name the two clips
    name = f"{own[first].id} x {other[first].id}"
    for key in shared:
        both = (own[key], other[key])
        grids.pairs.append(Pair(both, name, channel))


def _partner(
    own: Clip,
    clips: Sequence[Clip],
    waiting: dict[Any, dict[int, None]],
    judge: Judge,
) -> tuple[int | None, list[Any]]:
    """The waiting clip with the most to share, and what that is."""
    seen: set[int] = set()
    for key in own:
        seen.update(islice(waiting[key], LOOKED_AT))
    partner = None
    best: list[Any] = []
    for number in sorted(seen):  # of equally good ones the first in the drawn order
        shared = _different(own, clips[number], judge)
        if len(shared) > len(best):
            partner, best = number, shared
    return partner, best


def _leave_out(asked: Clip, shared: Sequence[Any], grids: Grids) -> None:
    """Note the questions of a clip that are in no pair."""
    why = "no clip is left that is asked the same with a different answer"
    left = [record for key, record in asked.items() if key not in shared]
    if left:
        grids.leave_out(why, left)


def _leave(number: int, asked: Clip, waiting: dict[Any, dict[int, None]]) -> None:
    """A clip waits no longer."""
    for key in asked:
        del waiting[key][number]


def _different(one: Clip, other: Clip, judge: Judge) -> list[Any]:
    """What both clips are asked and answer differently, in the order of the first."""
    found = []
    for key, record in one.items():
        if key not in other:
            continue
        mine = references_of(record)
        theirs = references_of(other[key])
        # Neither's answers may pass for the other's, or a conflict would have no right answer.
        passes = [judge(answer, mine) for answer in theirs]
        passes += [judge(answer, theirs) for answer in mine]
        if not any(passes):
            found.append(key)
    return found
