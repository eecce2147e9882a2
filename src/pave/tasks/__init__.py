"""Tasks: the benchmarks of the paper, from their public annotation files to records, and from answers to scores.

Example:
    >>> from pave.tasks import get_task
    >>> get_task("music-avqa").splits["test"]
    9185
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from pave.errors import ConfigError
from pave.tasks.prompt import Prompt
from pave.tasks.task import Example, Item, Prediction, Scored, Style, Task

_HOMES = {
    "avsd": "avsd",
    "avqa": "avqa",
    "music-avqa": "music_avqa",
    "scanqa": "scanqa",
    "sqa3d": "sqa3d",
    "ego-exo4d": "ego_exo4d",
    "llava-video": "llava_video",
    "videomme": "video_mme",
    "mvbench": "mvbench",
    "mlvu": "mlvu",
}
TASKS = tuple(_HOMES)
"""Names of all tasks, in the order of the paper."""

__all__ = [
    "TASKS",
    "Example",
    "Item",
    "Prediction",
    "Prompt",
    "Scored",
    "Style",
    "Task",
    "get_task",
]


def get_task(name: str) -> Task:
    """A task by its name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in _HOMES:
        near = get_close_matches(name, TASKS, 1)
        raise ConfigError(
            f"there is no task {name!r}{f' (did you mean {near[0]!r}?)' if near else ''}; there "
            f"are: {', '.join(TASKS)}"
        )
    task: Task = import_module(f"pave.tasks.{_HOMES[name]}").TASK
    return task
