"""Tasks: from a benchmark's public annotation files to records, and from answers to scores.

`exact` scores any records by exact match; the others are the benchmarks of the paper.

Example:
    >>> from pave.tasks import get_task
    >>> get_task("music-avqa").splits["test"]
    9185
"""

from __future__ import annotations

from pave.tasks.prompt import Prompt
from pave.tasks.registry import EXACT, get_task, list_tasks, register_task
from pave.tasks.task import Example, Item, Prediction, Scored, Style, Task

__all__ = [
    "EXACT",
    "Example",
    "Item",
    "Prediction",
    "Prompt",
    "Scored",
    "Style",
    "Task",
    "get_task",
    "list_tasks",
    "register_task",
]
