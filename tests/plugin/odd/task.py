"""A benchmark: is the level high or low?"""

from __future__ import annotations

from pave import register_task
from pave.tasks import Prompt, Task
from pave.tasks.scoring import matches


@register_task("odd-task")
def odd_task() -> Task:
    """Scored by exact match; records come ready-made."""
    return Task(
        name="odd-task",
        title="Odd levels",
        splits={"test": None},
        tested_on="test",
        channel="odd",
        annotations="none",
        prompt=Prompt(),
        examples=None,
        score=matches,
    )
