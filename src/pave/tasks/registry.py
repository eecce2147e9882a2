"""Tasks by name: pave's own, those of the program, and those of installed packages.

A task that is registered works in every verb that takes one: `pave prepare`, `pave score`,
`pave eval --task` and `pave train --task`.
"""

from __future__ import annotations

from collections.abc import Callable

from pave.errors import ConfigError
from pave.registry import Registry, registering
from pave.tasks.task import Task

EXACT = "exact"
"""The task that scores where none is named: exact match with the accepted answers."""

MakeTask = Callable[[], Task]
_OWN = {
    EXACT: "pave.tasks.exact",
    "avsd": "pave.tasks.avsd",
    "avqa": "pave.tasks.avqa",
    "music-avqa": "pave.tasks.music_avqa",
    "scanqa": "pave.tasks.scanqa",
    "sqa3d": "pave.tasks.sqa3d",
    "ego-exo4d": "pave.tasks.ego_exo4d",
    "llava-video": "pave.tasks.llava_video",
    "videomme": "pave.tasks.video_mme",
    "mvbench": "pave.tasks.mvbench",
    "mlvu": "pave.tasks.mlvu",
}
TASKS: Registry[MakeTask] = Registry("task", "pave.tasks", _OWN, ConfigError)


def register_task(name: str) -> Callable[[MakeTask], MakeTask]:
    """A decorator that makes a task known by its name.

    It stands on a function without arguments that makes the `Task`. A package announces the module
    of that function under the entry point group `pave.tasks`.

    Args:
        name: What commands call it; the task's own `name`.

    Example:
        >>> from pave.tasks import Prompt, Task, get_task, register_task
        >>> from pave.tasks.scoring import matches
        >>> @register_task("example-task")
        ... def example_task() -> Task:
        ...     return Task("example-task", "Example", {}, "", "audio", "", Prompt(), None, matches)
        >>> get_task("example-task").title
        'Example'
    """
    return registering(TASKS, name)


def get_task(name: str) -> Task:
    """A task by its name.

    Raises:
        ConfigError: If there is none of that name, or its package is broken.

    Example:
        >>> get_task("music-avqa").splits["test"]
        9185
    """
    task = TASKS.get(name)()
    # Results carry the task's own name, by which it has to be found again.
    if task.name != name:
        raise ConfigError(
            f"the task registered as {name!r} is named {task.name!r}; use the same name for both"
        )
    return task


def list_tasks() -> list[str]:
    """Names of all tasks, sorted; nothing is imported for it."""
    return TASKS.names()
