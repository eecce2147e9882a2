"""The numbers of an evaluation: accuracy of each arm and differences between arms, overall, by group and by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from pydantic import BaseModel, ConfigDict, Field

from pave.evaluate.items import TITLES, Answer, Item
from pave.metrics import paired_bootstrap, wilson

Answers = Mapping[tuple[str, str], Answer]


class ArmRow(BaseModel):
    """Accuracy of one arm on one family of questions; all shares are fractions."""

    model_config = ConfigDict(frozen=True)

    arm: str
    family: str = Field(description='"all", a group ("sound", "visual"), or one family.')
    n: int
    correct: int
    accuracy: float
    ci95: tuple[float, float] = Field(description="Wilson interval of the accuracy.")


class PairedRow(BaseModel):
    """accuracy(a) - accuracy(b) on the same questions; all shares are fractions."""

    model_config = ConfigDict(frozen=True)

    family: str
    a: str
    b: str
    difference: float
    ci95: tuple[float, float] = Field(description="Bootstrap interval over clips.")


def families_of(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Row name -> its items: "all", then each group with its families under it, in order of first appearance.

    A family that bears the name of a group or "all" is listed as "name (family)".
    """
    rows = {"all": list(items)}
    groups = dict.fromkeys(item.group for item in items)
    for group in sorted(groups, key=lambda name: (not name, name not in TITLES)):
        inside = [item for item in items if item.group == group]
        if group:
            rows[group] = inside
        for item in inside:
            name = (
                f"{item.family} (family)"
                if item.family in groups or item.family == "all"
                else item.family
            )
            rows.setdefault(name, []).append(item)
    return rows


def arm_rows(items: Sequence[Item], arms: Sequence[str], answers: Answers) -> list[ArmRow]:
    """One row for each arm and row name of `families_of`."""
    rows = []
    for family, members in families_of(items).items():
        for arm in arms:
            correct = sum(bool(answers[arm, item.id].correct) for item in members)
            interval = wilson(correct, len(members))
            rows.append(
                ArmRow(
                    arm=arm,
                    family=family,
                    n=len(members),
                    correct=correct,
                    accuracy=correct / len(members),
                    ci95=interval,
                )
            )
    return rows


def paired_rows(
    items: Sequence[Item], arms: Sequence[str], answers: Answers, *, resamples: int, seed: int
) -> list[PairedRow]:
    """Each later arm minus each earlier one, for each row name of `families_of`."""
    rows = []
    for family, members in families_of(items).items():
        clips = [item.clip for item in members]
        scores = {
            arm: [float(bool(answers[arm, item.id].correct)) for item in members] for arm in arms
        }
        for b, a in combinations(arms, 2):
            gap = paired_bootstrap(scores[a], scores[b], clips, resamples=resamples, seed=seed)
            rows.append(
                PairedRow(
                    family=family, a=a, b=b, difference=gap.difference, ci95=(gap.low, gap.high)
                )
            )
    return rows
