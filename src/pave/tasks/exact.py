"""Exact match with the accepted answers: how any records are scored where no benchmark is named.

It makes no records and has no prompt of its own. Rows of the table are what a question takes
(`meta.channel`: a channel, or `video` for the picture alone) and, below it, the question's family
(`meta.family`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pave.data import Record
from pave.metrics import exact_match, normalise, without_thinking
from pave.tasks.prompt import Prompt
from pave.tasks.registry import EXACT, register_task
from pave.tasks.scoring import accuracy
from pave.tasks.task import Item, Labels, Style, Task


def channel_and_family(records: Sequence[Record]) -> list[Labels]:
    """(channel, family) of each record, or (family,) where it does not say what it takes.

    A family that bears the name of a channel, or "all", becomes "name (family)": its questions
    would otherwise be pooled with others.
    """
    # The names that rows of the table have already.
    taken = {"all", *map(_channel, records)}
    labels: list[Labels] = []
    for record in records:
        channel = _channel(record)
        family = str(record.meta.get("family", "other"))
        if family in taken:
            family = f"{family} (family)"
        if channel:
            labels.append((channel, family))
        else:
            labels.append((family,))  # listed after the channels
    return labels


def _channel(record: Record) -> str:
    """What the question takes; empty where the record does not say."""
    return str(record.meta.get("channel", ""))


def _parse(item: Item, style: Style) -> str:
    """The prediction as it is compared; the PAVE authors have no script for this, so one style."""
    return normalise(without_thinking(item.prediction))


def _right(item: Item, parsed: str, style: Style) -> bool:
    return exact_match(item.prediction, item.references)


@register_task(EXACT)
def exact() -> Task:
    """Exact match."""
    return Task(
        name=EXACT,
        title="exact match",
        splits={},
        tested_on="",
        channel="",
        annotations="",
        prompt=Prompt(),
        examples=None,
        score=accuracy(_parse, _right),
        labels=channel_and_family,
        nested=True,
        # Each question is right or wrong by itself, which the lines of an evaluation say.
        judge=exact_match,
    )
