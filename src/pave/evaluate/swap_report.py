"""What a swapped channel does to the answers: scores of each arm, intervals, and their page.

The effects are those of DMC-Repair (arXiv 2609.36798). With m(u, v) the margin by which the model
prefers a's answer to b's, where the picture is u's and the channel v's,

    E_channel = ((m(a, a) - m(a, b)) + (m(b, a) - m(b, b))) / 2     exchanging the channel
    E_picture = ((m(a, a) - m(b, a)) + (m(a, b) - m(b, b))) / 2     exchanging the picture

and the Shortcut Index is |E_picture| / (|E_channel| + |E_picture|): 0 is wanted where a question
needs the channel, 1 where it asks for the picture. A margin is a difference of mean log-probability
a token, in nats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pave.evaluate.table import Cells, mark, row_title
from pave.files import write_text_atomically
from pave.metrics.bootstrap import mean_bootstrap, share_bootstrap
from pave.tasks.grids import CELLS, CONTROL, Pair
from pave.tasks.score import Interval
from pave.texts import counted

_POINTS, _GAP, _NATS = (100, ".1f"), (100, "+.1f"), (1, "+.2f")
_FORMS = {
    "matched": _POINTS,
    "follows": _POINTS,
    "gap": _GAP,
    "other": _POINTS,
    "changed": _POINTS,
    "channel_effect": _NATS,
    "picture_effect": _NATS,
}
"""Score -> factor and format in a table, in the order of its columns."""


@dataclass(frozen=True)
class Outcome:
    """What one arm made of one pair; shares of two cells are 0, 0.5 or 1.

    Attributes:
        matched: Right answers where picture and channel are of one clip.
        follows: Right answers where they disagree: the channel's, to a visual question the
            picture's.
        gap: follows - matched.
        other: Answers of the side that the question does not ask about, where they disagree.
        changed: Answers that are other ones after the channel was exchanged.
        channel_effect: E_channel, in nats.
        picture_effect: E_picture, in nats.
    """

    matched: float
    follows: float
    gap: float
    other: float
    changed: float
    channel_effect: float
    picture_effect: float


class Estimate(BaseModel):
    """A mean over pairs, and its interval over pairs of clips."""

    model_config = ConfigDict(frozen=True)

    value: float
    ci95: Interval | None = Field(description="Null if there are too few pairs of clips.")


class SwapRow(BaseModel):
    """One arm's answers to one kind of question."""

    model_config = ConfigDict(frozen=True)

    label: str = Field(description="A channel, `video` for visual questions, or a family.")
    arm: str
    n: int = Field(description="Pairs; each has four cells.")
    clusters: int = Field(description="Pairs of clips, which are the independent draws.")
    scores: dict[str, Estimate] = Field(description="By the names of `Outcome`.")
    shortcut_index: Estimate | None = Field(
        description="|E_picture| / (|E_channel| + |E_picture|); None where both are 0."
    )
    minus: dict[str, dict[str, Estimate]] = Field(
        default_factory=dict, description="Earlier arm -> this arm's scores minus its, paired."
    )


class SwapReport(BaseModel):
    """The content of `swap.json`. Shares are fractions."""

    model_config = ConfigDict(frozen=True)

    channel: str = Field(description="The channel that was exchanged.")
    rows: list[SwapRow]
    left_out: dict[str, list[str]] = Field(description="Why -> records that are in no pair.")
    seconds: dict[str, float] = Field(description="Wall seconds of each stage.")
    peak_rss_mb: float
    seeds: dict[str, int]
    versions: dict[str, str]
    command: str
    settings: dict[str, Any]

    def row(self, arm: str, label: str) -> SwapRow:
        """One row.

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if (row.arm, row.label) == (arm, label):
                return row
        raise KeyError((arm, label))


def outcome(
    right: Mapping[Any, bool],
    other: Mapping[Any, bool],
    said: Mapping[Any, str],
    margins: Mapping[Any, float],
) -> Outcome:
    """Put the four cells of a pair together.

    Args:
        right: Cell -> whether the answer is right.
        other: Cell of a conflict -> whether it is the other side's answer.
        said: Cell -> the answer, as answers are compared.
        margins: Cell -> log-probability of a's answer minus that of b's.
    """
    aa, ab, ba, bb = CELLS  # the picture's clip, then the channel's
    matched = (right[aa] + right[bb]) / 2
    follows = (right[ab] + right[ba]) / 2
    # Under one picture, the channel being another one.
    changed_a = said[aa] != said[ab]
    changed_b = said[bb] != said[ba]
    # Under one picture a's channel against b's, and with one channel a's picture against b's.
    by_channel = (margins[aa] - margins[ab]) + (margins[ba] - margins[bb])
    by_picture = (margins[aa] - margins[ba]) + (margins[ab] - margins[bb])
    return Outcome(
        matched=matched,
        follows=follows,
        gap=follows - matched,
        other=(other[ab] + other[ba]) / 2,
        changed=(changed_a + changed_b) / 2,
        channel_effect=by_channel / 2,
        picture_effect=by_picture / 2,
    )


def rows_of(
    pairs: Sequence[Pair],
    outcomes: Mapping[str, Sequence[Outcome]],
    *,
    resamples: int,
    seed: int,
) -> list[SwapRow]:
    """Every arm's row for every kind of question, with differences to the arms before it.

    Args:
        pairs: The pairs.
        outcomes: Arm -> its outcome of each pair.
        resamples: Draws of pairs of clips.
        seed: Of the draws.
    """
    rows = []
    # One seed for all, so that rows of the same pairs are drawn alike.
    draws = {"resamples": resamples, "seed": seed}
    for label, places in _labels(pairs).items():
        clips = [pairs[place].clips for place in places]
        before: dict[str, list[Outcome]] = {}  # the reference arms come first
        for arm, whole in outcomes.items():
            own = [whole[place] for place in places]
            minus = {}
            for earlier, theirs in before.items():
                # Pair by pair: what pairs have in common falls out.
                minus[earlier] = _estimates(own, clips, draws, than=theirs)
            row = SwapRow(
                label=label,
                arm=arm,
                n=len(own),
                clusters=len({*clips}),
                scores=_estimates(own, clips, draws),
                shortcut_index=_shortcut(own, clips, draws),
                minus=minus,
            )
            rows.append(row)
            before[arm] = own
    return rows


def _labels(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Kind of question -> places of its pairs: channels first, each followed by its families."""
    found: dict[str, dict[str, list[int]]] = {}
    for place, pair in enumerate(pairs):
        kind = pair.channel
        if pair.is_visual:
            kind = CONTROL
        families = found.setdefault(kind, {})
        families.setdefault("", []).append(place)  # all of a kind
        family = str(pair.records[0].meta.get("family", ""))
        if family:
            families.setdefault(family, []).append(place)
    labels = {}
    for kind in sorted(found, key=lambda kind: kind == CONTROL):  # the control comes last
        for family, places in found[kind].items():
            labels[family or kind] = places
    return labels


def _column(outcomes: Sequence[Outcome], name: str) -> NDArray[np.float64]:
    """One score of every pair, `[pairs]`."""
    return np.array([getattr(own, name) for own in outcomes])


def _estimates(
    own: Sequence[Outcome],
    clips: Sequence[str],
    draws: Mapping[str, int],
    than: Sequence[Outcome] | None = None,
) -> dict[str, Estimate]:
    """Every score, or how much larger it is than another arm's."""
    found = {}
    for name in _FORMS:
        values = _column(own, name)
        if than is not None:
            values = values - _column(than, name)
        interval = mean_bootstrap(values.tolist(), clips, **draws)
        found[name] = Estimate(value=float(values.mean()), ci95=interval)
    return found


def _shortcut(
    own: Sequence[Outcome], clips: Sequence[str], draws: Mapping[str, int]
) -> Estimate | None:
    """The Shortcut Index of the mean effects."""
    picture = _column(own, "picture_effect")
    channel = _column(own, "channel_effect")
    by_picture = abs(float(picture.mean()))
    by_channel = abs(float(channel.mean()))
    whole = by_picture + by_channel
    if whole == 0:  # a base without the channel, on one and the same picture
        return None
    interval = share_bootstrap(picture.tolist(), channel.tolist(), clips, **draws)
    return Estimate(value=by_picture / whole, ci95=interval)


def table(report: SwapReport) -> Cells:
    """Header and cells: shares in points, effects in nats."""
    header = ["questions", "arm", "pairs", "clips", "matched", "conflict: follows", "difference"]
    header += ["the other side's", "changed", "E channel", "E picture", "Shortcut Index"]
    rows = []
    for row in report.rows:
        few = mark(row.clusters)  # behind every interval of the row
        cells = [row_title(row.label), row.arm, str(row.n), str(row.clusters)]
        for name, (scale, form) in _FORMS.items():
            cells.append(with_interval(row.scores[name], scale, form) + few)
        index = "none"
        if row.shortcut_index is not None:
            index = with_interval(row.shortcut_index, 1, ".2f") + few
        rows.append([*cells, index])
    return header, rows


def with_interval(estimate: Estimate, scale: int, form: str) -> str:
    """A value and its interval, if it has one.

    Args:
        estimate: Both.
        scale: What they are multiplied by: 100 for percent.
        form: How a number is written.

    Example:
        >>> with_interval(Estimate(value=0.5, ci95=(0.25, 0.75)), 100, ".0f")
        '50 (25 to 75)'
    """
    text = f"{scale * estimate.value:{form}}"
    if estimate.ci95 is None:
        return text
    low, high = estimate.ci95
    return f"{text} ({scale * low:{form}} to {scale * high:{form}})"


def notes(report: SwapReport) -> Iterator[str]:
    """What the numbers mean, and what is not in them."""
    yield (
        "Each pair is one question about two clips with different answers. Matched: picture and "
        f"{report.channel} of one clip. Conflict: the {report.channel} of the other clip; the "
        f"right answer is then that of the {report.channel}, and of the picture for visual "
        "questions."
    )
    # What is wanted differs between the two kinds of questions, so it is said beside the table.
    yield (
        "Changed: answers that differ once the channel is exchanged. E: how far the exchange "
        "moves the preference between the two answers (nats per token). Shortcut Index: the "
        "picture's share of both effects; the goal is 0 for questions about the channel and 1 "
        "for visual questions. Intervals: 95 %, over pairs of clips."
    )
    for why, ids in report.left_out.items():
        some = ", ".join(ids[:3])
        if len(ids) > 3:  # all of them are in swap.json
            some += ", ..."
        yield f"Left out: {counted(len(ids), 'record')} ({why}): {some}"


def write_swap_report(report: SwapReport, out: Path) -> None:
    """Write `swap.json` and `swap.md`, each complete or not at all."""
    text = json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_text_atomically(out / "swap.json", text + "\n")
    write_text_atomically(out / "swap.md", _page(report))


def _page(report: SwapReport) -> str:
    header, rows = table(report)
    # Two columns of words, the rest numbers.
    lines = [f"# Exchanged {report.channel}", ""]
    lines += [_row(header), _row(["---"] * 2 + ["---:"] * (len(header) - 2)), *map(_row, rows)]
    for note in notes(report):
        lines += ["", note.replace("*", "\\*")]
    lines += ["", f"Seeds: {report.seeds}. Peak memory: {report.peak_rss_mb:,.0f} MB.", ""]
    lines += [f"    {report.command}", ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|").replace("*", "\\*") for cell in cells]
    return f"| {' | '.join(escaped)} |"
