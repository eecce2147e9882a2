"""Two arms' scores of the same questions: the paired differences, overall and by label."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from pave.metrics import paired

ALL = "all"
"""The row of a table that pools all questions."""
ByQuestion = Mapping[str, Mapping[str, float]]
"""Question -> score name -> value."""


@dataclass(frozen=True)
class Comparison:
    """a minus b, on the questions that both have; fractions.

    Attributes:
        score: Name of the score.
        label: "all", or the label of the questions.
        n: Questions.
        clusters: Videos.
        a: Mean of a.
        b: Mean of b.
        difference: a - b.
        ci95: Paired interval over videos; None where they hold none (fewer than six, or all alike).
        p: Two-sided p-value of a permutation test over videos.
    """

    score: str
    label: str
    n: int
    clusters: int
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    p: float


def compare(
    a: ByQuestion,
    b: ByQuestion,
    clusters: Mapping[str, Hashable],
    labels: Mapping[str, Sequence[str]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two arms, over all questions and for each label.

    Args:
        a: The scores of one arm.
        b: Those of the other; questions and scores that only one of them has do not count.
        clusters: Question -> its video; a question that is not in there is its own.
        labels: Question -> its labels.
        resamples: Draws of the bootstrap and of the permutation test.
        seed: Their seed.

    Raises:
        ValueError: If the arms share no question or no score.

    Example:
        >>> ours, theirs = {"q1": {"em": 1}, "q2": {"em": 1}}, {"q1": {"em": 0}, "q2": {"em": 1}}
        >>> row = compare(ours, theirs, {}, {})[0]
        >>> row.n, row.difference
        (2, 0.5)
    """
    shared = [name for name in a if name in b]  # in the order of a, which a seed depends on
    if not shared:
        raise ValueError("the two files have no question in common")
    # A mean needs every question: METEOR may be missing where a file was scored without Java.
    scores = [score for score in a[shared[0]] if _have(score, shared, a, b)]
    if not scores:
        raise ValueError("the two files have no score in common")
    rows = []
    for label, members in _by_label(shared, labels).items():
        # A question of no known video is resampled by itself.
        videos = [clusters.get(name, name) for name in members]
        for score in scores:
            ours, theirs = _column(a, members, score), _column(b, members, score)  # [members]
            found = paired(ours, theirs, videos, resamples=resamples, seed=seed)
            rows.append(Comparison(score, label, **vars(found)))
    return rows


def table_label(label: str) -> str:
    """A label as a table names its row; one that is called "all" must not pass for all questions.

    Example:
        >>> table_label("all"), table_label("Audio")
        ('all (label)', 'Audio')
    """
    if label == ALL:
        return f"{ALL} (label)"
    return label


def _column(arm: ByQuestion, questions: Sequence[str], score: str) -> list[float]:
    """One score of some questions, as numbers also where a file says true or false."""
    return [float(arm[name][score]) for name in questions]


def _have(score: str, questions: Sequence[str], a: ByQuestion, b: ByQuestion) -> bool:
    """Whether both arms have a score of every question."""
    return all(score in a[name] and score in b[name] for name in questions)


def _by_label(
    questions: Sequence[str], labels: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Row of the table -> its questions, all of them first."""
    rows = {ALL: list(questions)}
    for name in questions:
        for label in labels.get(name, ()):
            rows.setdefault(table_label(label), []).append(name)
    return rows
