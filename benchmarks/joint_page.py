"""The tables of `make joint` in docs/results.md, from the answers that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from answers import MEASURED, Answers, answers_file, read_answers
from joint_arms import ARMS, LORA, SIDE_BY_SIDE, SINGLE, Arm
from pages import between_marks
from pooled import RESAMPLES
from results_pages import RESULTS
from runs import how_trained

from pave.channels import describe_encoder
from pave.metrics import Paired, exact_match, paired
from pave_world.demo.presets import PRESETS

MEASUREMENT = "joint"
CHOSEN_ON = 0
ALONE, COMPANY = "alone", "company"
"""A clip's own channel alone, or the others with it."""
NEEDS, VISUAL = "needs", "video"
"""Questions that need the clip's channel, or the picture alone."""
BELOW, INTERFERENCE = -0.02, -0.01
"""What a joint patch may lose against the single one, and by the presence of other channels."""
HEADER = (
    "| sense | arm | seeds | needs the sense | minus single | each seed | minus LoRA-only | "
    "visual control | minus single | others present: needs the sense | others present: visual |"
)


Kept = Mapping[int, Mapping[str, Answers]]
"""Seed -> sense -> answers."""


@dataclass(frozen=True)
class Right:
    """Which questions of a group an arm answered right.

    Attributes:
        right: (seed, sense, question) -> 1.0 or 0.0.
        clips: The same -> its clip.
    """

    right: Mapping[tuple[Any, ...], float]
    clips: Mapping[tuple[Any, ...], str]

    def minus(self, other: Right) -> Paired | None:
        """The paired difference on what both were asked; None without any."""
        names = [name for name in self.right if name in other.right]
        if not names:
            return None
        return paired(
            [self.right[name] for name in names],
            [other.right[name] for name in names],
            [self.clips[name] for name in names],
            resamples=RESAMPLES,
        )

    def of_seed(self, seed: int) -> Right:
        """Those of one world."""
        mine = {name: value for name, value in self.right.items() if name[0] == seed}
        return Right(mine, self.clips)

    @property
    def seeds(self) -> list[int]:
        """Worlds in which it was asked."""
        return sorted({name[0] for name in self.right})

    @property
    def percent(self) -> str:
        """Share of right answers; empty without any."""
        if not self.right:
            return ""
        return f"{100 * mean(self.right.values()):.1f}"


def read_kept(root: Path = MEASURED) -> Kept:
    """The answers of every seed."""
    kept: dict[int, dict[str, Answers]] = {}
    for folder in sorted((root / MEASUREMENT).glob("seed-*")):
        seed = int(folder.name.removeprefix("seed-"))
        found = {
            sense: read_answers(answers_file(MEASUREMENT, seed, sense, root)) for sense in PRESETS
        }
        kept[seed] = {sense: answers for sense, answers in found.items() if answers.rows}
    return kept


def write_page(root: Path = MEASURED, page: Path = RESULTS) -> None:
    """Fill the places between the markers of the page; those without any answer stay."""
    kept = read_kept(root)
    chosen = {seed: senses for seed, senses in kept.items() if seed == CHOSEN_ON}
    fresh = {seed: senses for seed, senses in kept.items() if seed != CHOSEN_ON}
    text = page.read_text("utf-8")
    for mark, part in (("joint", fresh), ("joint-chosen", chosen)):
        if part:
            measured = section(part)
            text = between_marks(text, mark, measured)
            print(measured)
    page.write_text(text, "utf-8")


def section(kept: Kept) -> str:
    """How it was measured, every sense and all of them, and what was wanted."""
    lines = [_settings(kept), "", HEADER, "|---" * 11 + "|"]
    senses = list(PRESETS)
    for sense in senses:
        lines += [_line(kept, arm, _title(sense), [sense]) for arm in _present(kept)]
    lines += [_line(kept, arm, "all four", senses) for arm in _present(kept)]
    return "\n".join([*lines, "", *_targets(kept)])


def right_of(kept: Kept, arm: Arm, condition: str, group: str, senses: Iterable[str]) -> Right:
    """What an arm answered right.

    Without other channels, patches side by side answer bit for bit as the single one.
    """
    name = arm.name
    if condition == ALONE and not arm.is_alone:
        name = SINGLE.name
    right = {}
    clips = {}
    for seed, answers in kept.items():
        for sense in senses:
            if sense not in answers:
                continue
            wanted = sense if group == NEEDS else group
            rows = answers[sense].rows
            for question, said in answers[sense].column(f"{name}/{condition}").items():
                row = rows[question]
                if row["group"] == wanted:
                    key = (seed, sense, question)
                    right[key] = float(exact_match(said, [row["answer"]]))
                    clips[key] = f"{seed}/{row['clip']}"
    return Right(right, clips)


def _present(kept: Kept) -> list[Arm]:
    """The arms that some world has, LoRA-only first."""
    arms = [LORA, *(arm for arm in ARMS if arm is not LORA)]
    return [arm for arm in arms if _own(kept, arm, list(PRESETS)).right]


def _own(kept: Kept, arm: Arm, senses: Sequence[str]) -> Right:
    """What needs the sense, asked in the way in which every arm is asked."""
    condition = COMPANY if arm is SIDE_BY_SIDE else ALONE
    return right_of(kept, arm, condition, NEEDS, senses)


def _line(kept: Kept, arm: Arm, title: str, senses: Sequence[str]) -> str:
    own = right_of(kept, arm, ALONE, NEEDS, senses)
    sight = right_of(kept, arm, ALONE, VISUAL, senses)
    single = right_of(kept, SINGLE, ALONE, NEEDS, senses)
    seen = right_of(kept, SINGLE, ALONE, VISUAL, senses)
    lora = right_of(kept, LORA, ALONE, NEEDS, senses)
    seeds = _own(kept, arm, senses).seeds
    cells = [title, arm.title, ", ".join(map(str, seeds))]
    if arm is SIDE_BY_SIDE:
        cells += ["as single", *[""] * 5]
    else:
        is_other = arm is not SINGLE
        cells.append(own.percent)
        cells.append(_gap(own.minus(single)) if is_other else "")
        cells.append(_each(own, single) if is_other else "")
        cells.append(_gap(own.minus(lora)) if arm is not LORA else "")
        cells.append(sight.percent)
        cells.append(_gap(sight.minus(seen)) if is_other else "")
    cells += [_gap(interference(kept, arm, group, senses)) for group in (NEEDS, VISUAL)]
    return f"| {' | '.join(cells)} |"


def interference(kept: Kept, arm: Arm, group: str, senses: Sequence[str]) -> Paired | None:
    """With the other channels present, minus without them; None where it was not asked."""
    if not arm.has_others:
        return None
    alone = right_of(kept, arm, ALONE, group, senses)
    return right_of(kept, arm, COMPANY, group, senses).minus(alone)


def _targets(kept: Kept) -> list[str]:
    """What was wanted, and whether each arm has it."""
    arms = [arm for arm in _present(kept) if arm.kind in ("combined", "joint")]
    if not arms:
        return []
    lines = ["| wanted | " + " | ".join(arm.title for arm in arms) + " |"]
    lines.append("|---" * (1 + len(arms)) + "|")
    cells = ["on no sense more than 2 points below the single patch"]
    for arm in arms:
        gaps = {}
        for sense in PRESETS:
            single = right_of(kept, SINGLE, ALONE, NEEDS, [sense])
            gaps[sense] = right_of(kept, arm, ALONE, NEEDS, [sense]).minus(single)
        cells.append(_worst(gaps, BELOW) if arm is not SIDE_BY_SIDE else "yes: the same")
    lines.append(f"| {' | '.join(cells)} |")
    cells = ["other channels cost at most 1 point on any sense"]
    for arm in arms:
        gaps = {sense: interference(kept, arm, NEEDS, [sense]) for sense in PRESETS}
        cells.append(_worst(gaps, INTERFERENCE))
    return [*lines, f"| {' | '.join(cells)} |"]


def _worst(gaps: Mapping[str, Paired | None], limit: float) -> str:
    """Whether the lowest difference is above a limit."""
    known = {sense: gap for sense, gap in gaps.items() if gap is not None}
    if len(known) < len(gaps):
        return "not measured on every sense"
    sense, gap = min(known.items(), key=lambda pair: pair[1].difference)
    verdict = "yes" if gap.difference >= limit else "no"
    return f"{verdict}: {_gap(gap)}, {_title(sense)}"


def _each(own: Right, other: Right) -> str:
    """The difference in each world."""
    gaps = [own.of_seed(seed).minus(other.of_seed(seed)) for seed in own.seeds]
    return ", ".join(f"{100 * gap.difference:+.1f}" for gap in gaps if gap is not None)


def _gap(found: Paired | None) -> str:
    """A difference in points, with its interval where there is one."""
    if found is None:
        return ""
    text = f"{100 * found.difference:+.1f}"
    if found.ci95 is None:
        return text
    low, high = found.ci95
    return f"{text} ({100 * low:+.1f} to {100 * high:+.1f})"


def _title(sense: str) -> str:
    return describe_encoder(sense).title


def _settings(kept: Kept) -> str:
    """How the worlds were measured, and what the trainings cost."""
    tables = [answers for senses in kept.values() for answers in senses.values()]
    settings = tables[0].about["settings"]
    trainings = [made for table in tables for made in table.about["trainings"].values()]
    lora, steps = settings["lora"], settings["steps"]
    word = "Seeds" if len(kept) > 1 else "Seed"
    return (
        f"{word} {', '.join(map(str, kept))}: {steps} steps for each sense, "
        f"{len(PRESETS) * steps} for a joint patch, of {settings['batch_clips']} clips; "
        f"{settings['train_clips']} training clips and {settings['test_clips']} held-out clips of "
        f"each sense; LoRA of rank {lora['rank']} and scale {lora['alpha'] / lora['rank']:g}, "
        f"{how_trained(trainings)}. Questions that need the sense, and visual ones: "
        f"{_counts(kept)}. Processor seconds of a training: {_costs(tables)}."
    )


def _counts(kept: Kept) -> str:
    """Questions of every sense, over all worlds."""
    counts = []
    for sense in PRESETS:
        groups = []
        for senses in kept.values():
            if sense in senses:
                groups += senses[sense].column("group").values()
        counts.append(f"{_title(sense)} {groups.count(sense)} and {groups.count(VISUAL)}")
    return ", ".join(counts)


def _costs(tables: Iterable[Answers]) -> str:
    """Processor seconds of every kind of training, over senses and worlds."""
    costs: dict[str, list[float]] = {}
    for answers in tables:
        for name, made in answers.about["trainings"].items():
            costs.setdefault(name, []).append(made["cpu_seconds"])
    titles = {arm.name: arm.title for arm in ARMS}
    return ", ".join(f"{titles[name]} {mean(spent):.0f}" for name, spent in costs.items())
