"""Clips that installed packages bring for the page, in the entry point group `pave.examples`.

An entry point is a function without arguments that gives rows of a title, a film and a question.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pave.registry import announced

GROUP = "pave.examples"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A clip and a question about it.

    Attributes:
        title: What it is called in the list.
        video: The film.
        question: The question.
    """

    title: str
    video: Path
    question: str


def installed_examples() -> list[Example]:
    """The examples of all packages; one whose package fails is told of and left out."""
    found = []
    for name, point in sorted(announced(GROUP).items()):
        try:
            for title, video, question in point.load()():
                found.append(Example(title, Path(video), question))
        except Exception as error:  # not our code
            logger.warning("the examples of the package %r cannot be loaded: %s", name, error)
    return found
