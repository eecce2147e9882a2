"""Records and predictions -> items, the one thing that every task scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pave.data import Record, clip_key
from pave.errors import RecordError
from pave.tasks.task import Item, Task


def items_of(task: Task, records: Sequence[Record], predictions: Mapping[str, str]) -> list[Item]:
    """The records that have a prediction, in their order, each beside its own.

    Args:
        task: Says which rows of the table a record counts in.
        records: What was asked.
        predictions: Record id -> what was answered.

    Raises:
        RecordError: If a record has no accepted answer.

    Example:
        >>> from pave.data import Turn
        >>> from pave.tasks import get_task
        >>> asked = [Record(id="1", video="v.mp4", turns=[Turn(question="What?", answer="dog")])]
        >>> items_of(get_task("exact"), asked, {"1": "A dog."})[0].references
        ('dog',)
    """
    # Labels are made of all of them together: a name may mean something else beside others.
    asked = [record for record in records if record.id in predictions]
    items = []
    for record, labels in zip(asked, task.labels(asked), strict=True):
        item = Item(
            id=record.id,
            cluster=cluster_of(record),
            prediction=predictions[record.id],
            references=references_of(record),
            options=tuple(record.options),
            labels=labels,
        )
        items.append(item)
    return items


def cluster_of(record: Record) -> str:
    """The unit that statistics resample: the benchmark's own name of the video, else the clip."""
    return str(record.meta.get("video_id") or clip_key(record))


def references_of(record: Record) -> tuple[str, ...]:
    """The accepted answers of a record: its `answers`, or else the answer of its last turn.

    Raises:
        RecordError: If it has neither, so that nothing could be scored.
    """
    if record.answers:
        return tuple(record.answers)
    last = record.turns[-1].answer
    if not last:
        raise RecordError(
            f"record {record.id!r} has no accepted answer to score against; give it `answers`, or "
            "an answer in its last turn"
        )
    return (last,)


def prompt_of(records: Sequence[Record], task: Task) -> str:
    """The prompt hash that the records carry, "unknown" where they carry none.

    Raises:
        RecordError: If they were made for another task. Any records are fine for a task that makes
            none itself.
    """
    makers = _values(records, "task") - {task.name}
    if makers and task.examples is not None:
        raise RecordError(
            f"the records were made for {', '.join(sorted(makers))}, not for {task.name}"
        )
    # Several where files were joined; what they have in common cannot be said then.
    return ", ".join(sorted(_values(records, "prompt"))) or "unknown"


def _values(records: Sequence[Record], name: str) -> set[str]:
    """What the records say under a name of their `meta`; those that say nothing do not count."""
    values = set()
    for record in records:
        if name in record.meta:
            values.add(str(record.meta[name]))
    return values
