"""What probes learn from: questions about clips with their answers, and how these are dealt out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

HELD = 5
"""One training clip in so many chooses a probe's settings."""


@dataclass(frozen=True)
class Example:
    """One question about one clip.

    Attributes:
        clip: Name of the clip.
        question: What is asked.
        answer: The answer; what stands here for a question that is to be answered is not read.
        family: Kind of question. Only the attention probe reads it, which learns all kinds at once.
    """

    clip: str
    question: str
    answer: str = ""
    family: str = ""


@dataclass(frozen=True)
class Dealt:
    """Training examples in two parts, each with whole clips.

    Attributes:
        learnt: What a probe learns from.
        held: What chooses its settings.
    """

    learnt: list[Example]
    held: list[Example]


def deal(train: Sequence[Example], order: random.Random) -> Dealt:
    """Put a fifth of the clips aside, drawn by `order`.

    Whole clips, since questions about one clip tell each other's answers.
    """
    # Sorted first: what is drawn must not depend on the order of the records.
    names = sorted({example.clip for example in train})
    order.shuffle(names)
    count = len(names) // HELD
    aside = set(names[:count])
    learnt: list[Example] = []
    held: list[Example] = []
    for example in train:
        if example.clip in aside:
            held.append(example)
        else:
            learnt.append(example)
    return Dealt(learnt, held)


def prior(train: Sequence[Example], asked: Sequence[Example]) -> list[str]:
    """The most frequent answer to each question, else that of all questions.

    Example:
        >>> train = [Example("a", "Q", "yes"), Example("b", "Q", "yes"), Example("c", "P", "no")]
        >>> prior(train, [Example("d", "Q"), Example("d", "P"), Example("d", "new")])
        ['yes', 'no', 'yes']
    """
    counts: dict[str, Counter[str]] = {}
    for example in train:
        counts.setdefault(example.question, Counter())[example.answer] += 1
    whole: Counter[str] = Counter()
    for own in counts.values():
        whole += own
    found = []
    for example in asked:
        # A wording that training never had takes what is most frequent in all.
        own = counts.get(example.question, whole)
        # Of equally frequent ones the first by letters, so that the order of records is nothing.
        found.append(min(own, key=lambda answer: (-own[answer], answer)))
    return found
