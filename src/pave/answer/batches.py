"""Records in batches: which questions are answered together, and their answers.

The cut into batches is decided before anything is answered. It depends on the questions and their
clips alone, not on what has been answered or on who answers. So an evaluation that was interrupted,
or that several processes share, answers every question in the same company, and its results are the
same also where rounding depends on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from pave.answer.generation import generate
from pave.answer.model import AnsweringModel
from pave.answer.questions import Turn, questions_about
from pave.answer.sampling import Sampling
from pave.data import Features, Record, group_by_clip


def by_length(records: Sequence[Record], features: Any) -> list[Record]:
    """Records clip by clip, clips of like length and like questions side by side.

    A batch then holds little padding.

    Args:
        records: Records.
        features: `pave.data.Features`, of which `clip(record).text` is read.
    """

    def size(members: Sequence[Record]) -> tuple[int, int]:
        """Ids of the clip's placeholder, characters of its longest question."""
        longest = 0
        for record in members:
            longest = max(longest, len(record.turns[-1].question))
        return len(features.clip(members[0]).text), longest

    # The sort is stable, so equal records give equal batches in every process.
    clips = sorted(group_by_clip(records), key=size)
    return list(chain.from_iterable(clips))


def cut(records: Sequence[Record], size: int) -> list[list[Record]]:
    """Whole clips while they fit into `size` questions; a clip with more questions is cut up."""
    batches: list[list[Record]] = []
    # Greedy, in the order given: clips of like length stay side by side.
    for members in group_by_clip(records):
        for start in range(0, len(members), size):
            piece = members[start : start + size]
            if batches and len(batches[-1]) + len(piece) <= size:
                batches[-1] += piece
            else:
                batches.append(list(piece))
    return batches


def open_turns(record: Record) -> list[Turn]:
    """The dialogue up to the last question, which is left open."""
    *earlier, last = record.turns
    # A turn without an answer stays, so that the last question is in its place.
    turns: list[Turn] = [(turn.question, turn.answer or "") for turn in earlier]
    return [*turns, (last.question, None)]


def answer_records(
    model: AnsweringModel, features: Features, batch: Sequence[Record], max_new_tokens: int
) -> dict[str, str]:
    """Record id -> what the model says, greedily, for one batch of whole clips.

    Args:
        model: The model, with the wanted patches on.
        features: What is seen of each clip.
        batch: The records.
        max_new_tokens: Longest answer.
    """
    clips = group_by_clip(batch)
    asked = []
    for members in clips:
        # Records of one clip share its prefix, and so its features.
        dialogues = list(map(open_turns, members))
        asked.append(questions_about(model, features[members[0]], dialogues))
    predictions = {}
    # [clips][questions]
    answers = generate(model, asked, Sampling(max_new_tokens))
    for members, ids in zip(clips, answers, strict=True):
        for record, tokens in zip(members, ids, strict=True):
            predictions[record.id] = model.base.decode(tokens)
    return predictions
