"""The tables of `make conflict` in docs/results.md, from the answers that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from answers import MEASURED
from conflict_answers import Kept, control_of, read_kept
from conflict_arms import ARMS, GATED, RESIDUALS, TRIED, Arm
from pages import between_marks
from pooled import RESAMPLES, Said, scores_of
from results_pages import RESULTS
from runs import how_trained

from pave.evaluate.report import ACCURACY
from pave.evaluate.scores import TaskScores
from pave.evaluate.swap import outcome_of
from pave.evaluate.swap_report import Estimate, Outcome, SwapRow, rows_of, with_interval
from pave.metrics import exact_match, normalise
from pave.metrics.bootstrap import mean_bootstrap
from pave.tasks.grids import CONTROL, Pair, pair_up

LORA, PLAIN, *_ = ARMS
CORE = ARMS[:3]
"""What every world needs before it is in the first table."""
NAMES = ("heard", "first", "last", "louder")
GROUPS = {
    "audio": "needs sound",
    "names": "of them names (heard, first, last, louder)",
    "exists": "exists",
    "count": "count",
    "both": "needs sound and picture (where)",
    CONTROL: "visual control",
    "seen": "of them seen",
}
CHOSEN_FROM = {arm.title for arm in RESIDUALS if arm.residual in (0.4, 0.2)}
"""What the table of residuals is nothing without."""
CHOSEN_ON = 0
SEEDS = (1, 2, 3)
_SEED = 0  # of the intervals


@dataclass(frozen=True)
class Exchanged:
    """What arms made of the exchanged sounds of several worlds.

    Attributes:
        rows: (title of an arm, group) -> its row.
        seeds: Title of an arm -> follows minus matched on sound questions, world by world.
    """

    rows: dict[tuple[str, str], SwapRow]
    seeds: dict[str, list[float]]


def write_page(root: Path = MEASURED, page: Path = RESULTS) -> None:
    """Fill the places between the markers of the page; those without answers stay."""
    worlds = read_kept(SEEDS, root)
    parts = {"conflict": measured(worlds), "conflict-gate": gated(worlds)}
    for chosen_on in read_kept([CHOSEN_ON], root):
        parts["conflict-chosen"] = tried(chosen_on)
        parts["conflict-residuals"] = residuals(chosen_on)
    text = page.read_text("utf-8")
    for mark, part in parts.items():
        if part:
            text = between_marks(text, mark, part)
            print(part)
    page.write_text(text, "utf-8")


def measured(worlds: Sequence[Kept]) -> str:
    """The arms that all worlds have, and those that only some have; empty without any."""
    whole = [world for world in worlds if all(_is_whole(world, arm) for arm in CORE)]
    if not whole:
        return ""
    shared = [arm for arm in ARMS if all(world.is_asked(arm) for world in whole)]
    text = section(whole, shared)
    for arm in ARMS:
        some = [world for world in whole if world.is_asked(arm)]
        if arm not in shared and some:
            text += f"\n\nAlso trained, on fewer worlds: {arm.title}.\n\n"
            text += section(some, [*shared, arm])
    return text


def gated(worlds: Sequence[Kept]) -> str:
    """The gate beside the reference, and beside plain training where that is finished."""
    reference, plain, gate = GATED
    whole = [world for world in worlds if all(_is_whole(world, arm) for arm in (reference, gate))]
    if not whole:
        return ""
    if all(_is_whole(world, plain) for world in whole):
        return section(whole, GATED)
    return section(whole, (reference, gate))


def section(worlds: Sequence[Kept], arms: Sequence[Arm]) -> str:
    """The exchanged sounds, the targets, and the questions as they are."""
    hearing = [arm for arm in arms if all(world.is_exchanged(arm) for world in worlds)]
    found = exchanged(worlds, hearing)
    scores = as_they_are(worlds, arms)
    first = worlds[0].settings
    trainings = [world.training(arm) for world in worlds for arm in arms]
    seeds = ", ".join(str(world.seed) for world in worlds)
    word = "Seeds" if len(worlds) > 1 else "Seed"
    pairs = found.rows[hearing[0].title, "audio"]
    lines = [
        f"{word} {seeds}: {first['steps']} steps on {first['train_clips']} clips each, "
        f"{first['test_clips']} held-out clips, LoRA of scale {arms[0].scale:g}, "
        f"{how_trained(trainings)}. {pairs.n} pairs of questions about sound, of {pairs.clusters} "
        f"pairs of clips. Processor seconds of a training: "
        f"{', '.join(f'{arm.title} {_seconds(worlds, arm):.0f}' for arm in arms)}.",
        "",
        "| questions | arm | pairs | matched | conflict: follows | difference | each seed | "
        "follows, minus plain | E channel | E picture | Shortcut Index | changed |",
        "|---" * 12 + "|",
    ]
    for group, title in GROUPS.items():
        present = [arm for arm in hearing if (arm.title, group) in found.rows]
        lines += [_exchange_line(found, arm, group, title) for arm in present]
    moved = {arm.title: visual_changes(worlds, arm) for arm in arms if arm.hears}
    lines += ["", *_as_they_are_table(scores, arms), "", *_targets(found, scores, moved)]
    return "\n".join(lines)


def tried(world: Kept) -> str:
    """What the settings were chosen from."""
    arms = [arm for arm in TRIED if world.is_exchanged(arm)]
    if not arms:
        return ""
    found = exchanged([world], arms)
    pairs = found.rows[arms[0].title, "audio"]
    lines = [
        f"Seed {world.seed}: {world.settings['steps']} steps of two clips where nothing else is "
        f"said. {pairs.n} pairs of questions about sound, of {pairs.clusters} pairs of clips.",
        "",
        "| setting | matched | conflict: follows | difference | names: difference | "
        "Shortcut Index | visual: matched | visual: follows | visual: changed |",
        "|---" * 9 + "|",
    ]
    for arm in arms:
        sound, names, visual = (
            found.rows[arm.title, group] for group in ("audio", "names", CONTROL)
        )
        cells = [arm.title, _points(sound, "matched"), _points(sound, "follows")]
        cells += [_points(sound, "gap", "+.1f"), _points(names, "gap", "+.1f"), _index(sound)]
        cells += [_share(visual, "matched"), _share(visual, "follows"), _share(visual, "changed")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def residuals(world: Kept) -> str:
    """What the size of the residual was chosen from: the questions as they are."""
    said: dict[str, list[Said]] = {}
    for arm in RESIDUALS:
        if world.said(arm.name):
            said[arm.title] = [_said(world, arm.name)]
    if not said.keys() >= CHOSEN_FROM:
        return ""
    scores = scores_of(said, resamples=RESAMPLES)
    counts = {row.label: row.n for row in next(iter(scores.arms.values())).labels}
    groups = {label: title for label, title in GROUPS.items() if label in counts}
    titles = [f"{title} (n = {counts[label]})" for label, title in groups.items()]
    compared = ("audio", CONTROL) if LORA.title in said else ()
    titles += [f"{GROUPS[label]}, minus {LORA.title}" for label in compared]
    lines = [
        f"Seed {world.seed}: {RESIDUALS[0].steps} steps of three clips, plain training.",
        "",
        f"| arm | {' | '.join(titles)} |",
        "|---" * (1 + len(titles)) + "|",
    ]
    for arm in said:
        cells = [_accuracy(scores, arm, label) for label in groups]
        cells += [_gap(scores, arm, label) for label in compared]
        lines.append(f"| {' | '.join([arm, *cells])} |")
    return "\n".join(lines)


def exchanged(worlds: Sequence[Kept], arms: Sequence[Arm]) -> Exchanged:
    """All pairs of the worlds as one evaluation."""
    pairs: list[Pair] = []
    outcomes: dict[str, list[Outcome]] = {arm.title: [] for arm in arms}
    seeds: dict[str, list[float]] = {arm.title: [] for arm in arms}
    for world in worlds:
        channel = world.settings["channel"]
        own = pair_up(world.records(), channel, exact_match, seed=world.seed).pairs
        # Clips of two worlds have the same names.
        pairs += [replace(pair, clips=f"{world.seed}:{pair.clips}") for pair in own]
        for arm in arms:
            said, margins = world.in_cells(arm)
            made = [outcome_of(pair, "arm", said, margins, exact_match) for pair in own]
            outcomes[arm.title] += made
            gaps = [one.gap for pair, one in zip(own, made, strict=True) if not pair.is_visual]
            seeds[arm.title].append(sum(gaps) / len(gaps))
    draws = {"resamples": RESAMPLES, "seed": _SEED}
    rows = {(row.arm, row.label): row for row in rows_of(pairs, outcomes, **draws)}
    named = [place for place, pair in enumerate(pairs) if _family(pair) in NAMES]
    chosen = {title: [made[place] for place in named] for title, made in outcomes.items()}
    for row in rows_of([pairs[place] for place in named], chosen, **draws):
        if row.label == worlds[0].settings["channel"]:
            rows[row.arm, "names"] = row
    return Exchanged(rows, seeds)


def as_they_are(worlds: Sequence[Kept], arms: Sequence[Arm]) -> TaskScores:
    """The questions without any exchange; controls of an arm behind it."""
    said = {}
    for arm in arms:
        said[arm.title] = [_said(world, arm.name) for world in worlds]
        said[controlled(arm)] = [_said(world, control_of(arm)) for world in worlds]
    return scores_of(said, resamples=RESAMPLES)


def visual_changes(worlds: Sequence[Kept], arm: Arm) -> Estimate:
    """How many answers to visual questions are other ones with another clip's sound."""
    changed: list[float] = []
    clips: list[str] = []
    for world in worlds:
        own, other = world.said(arm.name), world.said(control_of(arm))
        for record in world.records():
            if record.meta["channel"] == CONTROL:
                changed.append(float(normalise(own[record.id]) != normalise(other[record.id])))
                clips.append(f"{world.seed}:{record.video}")
    interval = mean_bootstrap(changed, clips, resamples=RESAMPLES, seed=_SEED)
    return Estimate(value=sum(changed) / len(changed), ci95=interval)


def _said(world: Kept, name: str) -> Said:
    """What an arm, or a control, answered in a world."""
    return Said(world.seed, world.records(), world.said(name))


def _seconds(worlds: Sequence[Kept], arm: Arm) -> float:
    """Processor seconds of a training, over all worlds."""
    return mean(world.training(arm)["cpu_seconds"] for world in worlds)


def controlled(arm: Arm) -> str:
    """What the tables call the control of an arm."""
    return f"{arm.title}, {arm.control}"


def _is_whole(world: Kept, arm: Arm) -> bool:
    """Whether all that is asked of an arm is there."""
    return world.is_asked(arm) and (not arm.hears or world.is_exchanged(arm))


def _exchange_line(found: Exchanged, arm: Arm, group: str, title: str) -> str:
    row = found.rows[arm.title, group]
    seeds = ""
    if group == "audio":
        seeds = ", ".join(f"{100 * gap:+.1f}" for gap in found.seeds[arm.title])
    more = ""
    if PLAIN.title in row.minus:
        more = with_interval(row.minus[PLAIN.title]["follows"], 100, "+.1f")
    cells = [title, arm.title, str(row.n), _points(row, "matched"), _points(row, "follows")]
    cells += [_points(row, "gap", "+.1f"), seeds, more]
    cells += [with_interval(row.scores[name], 1, "+.2f") for name in _EFFECTS]
    cells += [_index(row), _points(row, "changed")]
    return f"| {' | '.join(cells)} |"


_EFFECTS = ("channel_effect", "picture_effect")


def _as_they_are_table(scores: TaskScores, arms: Sequence[Arm]) -> list[str]:
    """Ordinary questions: shares, and differences to LoRA-only."""
    counts = {row.label: row.n for row in next(iter(scores.arms.values())).labels}
    groups = {label: title for label, title in GROUPS.items() if label in counts}
    lines = [
        "| questions as they are | n | "
        + " | ".join(scores.arms)
        + " | "
        + " | ".join(f"{arm.title} - {LORA.title}" for arm in arms if arm.hears)
        + " |",
    ]
    lines.append("|---" * lines[0].count(" | ") + "|---|")
    for label, title in groups.items():
        shares = [_accuracy(scores, arm, label) for arm in scores.arms]
        gaps = [_gap(scores, arm.title, label) for arm in arms if arm.hears]
        lines.append(f"| {' | '.join([title, str(counts[label]), *shares, *gaps])} |")
    return lines


def _accuracy(scores: TaskScores, title: str, label: str) -> str:
    (row,) = (row for row in scores.arms[title].labels if row.label == label)
    return f"{100 * (row.scores[ACCURACY] or 0):.1f}"


def _gap(scores: TaskScores, title: str, label: str) -> str:
    found = scores.gap(ACCURACY, label, title, LORA.title)
    if found is None:
        return ""
    return with_interval(Estimate(value=found.difference, ci95=found.ci95), 100, "+.1f")


WANTED = {
    "follows within 4 points of matched": ("audio", "gap", -0.04),
    "the same on names": ("names", "gap", -0.04),
    "Shortcut Index at most 0.10": ("audio", "index", 0.10),
    "`count` hears: E channel above 0, with its interval": ("count", "channel_effect", 0.0),
}
"""What is wanted of the exchanged sounds -> group, score, limit."""


def _targets(found: Exchanged, scores: TaskScores, moved: Mapping[str, Estimate]) -> list[str]:
    """What was wanted, and whether each arm has it."""
    header = ["wanted", *moved]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for text, (group, score, limit) in WANTED.items():
        rows = [found.rows.get((title, group)) for title in moved]
        cells = [text, *(_reached(row, score, limit) for row in rows)]
        lines.append(f"| {' | '.join(cells)} |")
    cells = ["at most 5 % of visual answers change with another clip's sound"]
    for share in moved.values():
        cells.append(_verdict(share.value <= 0.05, with_interval(share, 100, ".1f")))
    lines.append(f"| {' | '.join(cells)} |")
    cells = [f"visual control within 1 point of {LORA.title}, and 0 in its interval"]
    for title in moved:
        gap = scores.gap(ACCURACY, CONTROL, title, LORA.title)
        assert gap is not None and gap.ci95 is not None
        reached = gap.difference >= -0.01 and gap.ci95[1] >= 0
        cells.append(_verdict(reached, _gap(scores, title, CONTROL)))
    return [*lines, f"| {' | '.join(cells)} |"]


def _reached(row: SwapRow | None, score: str, limit: float) -> str:
    """Whether one arm has what was wanted of a score."""
    if row is None:
        return "not asked"
    if score == "index":
        index = row.shortcut_index
        if index is None:
            return "none"
        return _verdict(index.value <= limit, f"{index.value:.2f}")
    estimate = row.scores[score]
    if score == "channel_effect":
        above = estimate.ci95 is not None and estimate.ci95[0] > limit
        return _verdict(above, with_interval(estimate, 1, "+.2f"))
    return _verdict(estimate.value >= limit, f"{100 * estimate.value:+.1f}")


def _verdict(reached: bool, text: str) -> str:
    return f"{'yes' if reached else 'no'}: {text}"


def _family(pair: Pair) -> str:
    return str(pair.records[0].meta.get("family", ""))


def _share(row: SwapRow, name: str) -> str:
    return f"{100 * row.scores[name].value:.1f}"


def _points(row: SwapRow, name: str, form: str = ".1f") -> str:
    return with_interval(row.scores[name], 100, form)


def _index(row: SwapRow) -> str:
    if row.shortcut_index is None:
        return "none"
    return with_interval(row.shortcut_index, 1, ".2f")
