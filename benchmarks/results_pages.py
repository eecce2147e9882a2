"""The tables, plots and sentences of docs/results.md and of the README, made from pooled runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from controls import BLIND, PRIOR, PROBES, SHUFFLED
from pages import between_marks
from pooled import Channel
from runs import how_trained

from pave.channels import describe_encoder
from pave.evaluate.plot import draw
from pave.evaluate.report import PairedRow, Report
from pave.evaluate.table import CONTROL, mark, row_title
from pave.texts import counted
from pave_world.demo.presets import PRESETS

ROOT = Path(__file__).parents[1]
PLOTS = ROOT / "docs" / "assets"
RESULTS = ROOT / "docs" / "results.md"
NOTE = (
    "Exact match in percent on held-out clips, seeds of world and training pooled; differences "
    "with 95 % intervals (paired,"
    " over all clips). Both trainings of a run have the same clips, steps, batches, rates and "
    "LoRA. Blind: LoRA-only without the clip; shuffled: the patch with another clip's channel. "
    "Command: `make results`."
)
_BEFORE_CONTROLS = 8  # cells of a line of the summary, without blind and shuffled
ENOUGH, HARMLESS = 0.15, 0.03  # what a channel should be worth, and what it may cost elsewhere


def write_pages(channels: Sequence[Channel]) -> None:
    """Fill the places between the markers of the pages, and draw a plot for each channel.

    Other channels stay as they are.
    """
    for channel in channels:
        draw(channel.whole, PLOTS / f"results-{channel.config.channel}.png")
    for path in (ROOT / "README.md", ROOT / "docs" / "index.md", RESULTS):
        page = path.read_text("utf-8")
        page = between_marks(page, "results", summary(channels, page))
        if path == RESULTS:
            for channel in channels:
                page = between_marks(page, f"results-{channel.config.channel}", section(channel))
        path.write_text(page, "utf-8")
    print(summary(channels))


def summary(channels: Sequence[Channel], before: str = "") -> str:
    """A line a channel: what needs it, and the visual control.

    Args:
        channels: What was measured.
        before: A page with an older table: its lines about other channels are taken over.
    """
    fresh = {channel.config.channel: channel for channel in channels}
    rows = []
    for channel in PRESETS:
        name = describe_encoder(channel).title
        old = [line for line in before.splitlines() if line.startswith(f"| {name} | ")]
        rows += [_line(fresh[channel], name)] if channel in fresh else map(_widened, old[:1])
    header = (
        "| questions that need | seeds | n | blind | base | LoRA-only | shuffled | patch | patch - "
        "LoRA-only | and on visual control |"
    )
    return "\n".join([header, _rule(header), *rows, "", NOTE])


def _rule(header: str) -> str:
    """The line below the header of a Markdown table."""
    return "|---" * (header.count("|") - 1) + "|"


def _line(channel: Channel, name: str) -> str:
    group = channel.config.channel
    base, control, patch = (_percent(channel, arm, group) for arm in channel.arms)
    blind, shuffled = (_control(channel, arm, group) for arm in (BLIND, SHUFFLED))
    shares = f"{blind} | {base} | {control} | {shuffled} | {patch}"
    cells = [name, _seeds(channel), str(channel.whole.arm(channel.arms[0], group).n), shares]
    return f"| {' | '.join(cells)} | {_gap(channel, group)} | {_gap(channel, CONTROL)} |"


def _widened(line: str) -> str:
    """A line of a table that had no control arms yet, with empty places for them."""
    cells = line.split(" | ")
    if len(cells) != _BEFORE_CONTROLS:
        return line
    blind, shuffled = 3, 6
    cells.insert(blind, "")
    cells.insert(shuffled, "")
    return " | ".join(cells)


def _control(channel: Channel, arm: str, label: str) -> str:
    """The share of a control arm."""
    return f"{100 * channel.controls.arm(arm, label).accuracy:.1f}"


def _heading(channel: str) -> str:
    """A channel's title, and the name by which commands know it."""
    title = describe_encoder(channel).title
    return f"{title[0].upper()}{title[1:]} (`{channel}`)"


def section(channel: Channel) -> str:
    """Everything about one channel: verdict, table of families, plot, command and cost."""
    name, (base, control, patch) = channel.config.channel, channel.arms
    run = channel.config
    settings = ", ".join(f"{key}={value}" for key, value in run.encoder_settings.items())
    lines = [
        f"## {_heading(name)}",
        "",
        f"Encoder `{run.channel}/{run.encoder}`{f' ({settings})' if settings else ''}. "
        f"{verdict(channel)}",
        "",
    ]
    header = (
        f"| questions | n | blind | {base} | {control} | shuffled | {patch} | patch - LoRA-only | "
        "each seed |"
    )
    table = [header, _rule(header)]
    for family in channel.whole.families():
        plain = [_percent(channel, arm, family) for arm in channel.arms]
        plain.insert(2, _control(channel, SHUFFLED, family))
        shares = " | ".join([_control(channel, BLIND, family), *plain])
        title = row_title(family)
        if title != family:
            title = f"**{title}**"
        count = channel.whole.arm(base, family).n
        table.append(
            f"| {title} | {count} | {shares} | {_gap(channel, family)} | "
            f"{_by_seed(channel, family)} |"
        )
    return "\n".join(
        [
            *lines,
            *table,
            "",
            *_probed(channel),
            f"![Accuracy and difference by kind of question](assets/results-{name}.png)",
            "",
            _cost(channel),
        ]
    )


def verdict(channel: Channel) -> str:
    """One or two sentences that say whether the channel helped, also when it did not."""
    group = channel.config.channel
    gain, harm = _row(channel, group), _row(channel, CONTROL)
    if gain.ci95[0] <= 0:
        helped = (
            "The patch is not shown to help: the interval of its difference to the LoRA alone "
            "holds zero."
        )
    elif gain.difference < ENOUGH:
        helped = (
            f"The patch helps, but by less than the {100 * ENOUGH:.0f} points that we hold worth a "
            "channel."
        )
    else:
        helped = (
            f"The patch answers {100 * gain.difference:.0f} in a hundred questions more than the "
            "same LoRA without the channel."
        )
    flat = _flat(channel)
    if flat and gain.ci95[0] > 0:
        helped += f" No gain is shown on: {', '.join(flat)}."
    if abs(harm.difference) <= HARMLESS:
        return f"{helped} What needs no such channel stays within {100 * HARMLESS:.0f} points."
    way = "loses" if harm.difference < 0 else "gains"
    return f"{helped} On visual questions it {way} {100 * abs(harm.difference):.1f} points."


def _probed(channel: Channel) -> list[str]:
    """What the token probes say of each family without a gain; no lines without such families."""
    flat = _flat(channel)
    if not flat:
        return []
    lines = [
        "No gain, and why: token probes, trained on the tokens of the training clips.",
        "",
        "| questions | most frequent answer | linear probe | MLP probe | attention probe | "
        "the tokens |",
        "|---" * 6 + "|",
    ]
    for family in flat:
        shares = [_control(channel, arm, family) for arm in (PRIOR, *PROBES)]
        lines.append(f"| {family} | {' | '.join(shares)} | {_held(channel.controls, family)} |")
    return [*lines, ""]


def _held(controls: Report, family: str) -> str:
    """Whether a probe is better than the most frequent answers, by its paired interval."""
    found = []
    for arm in PROBES:
        gap = controls.gap(arm, PRIOR, family)
        if gap.ci95[0] > 0:
            found.append(f"{arm} {100 * gap.difference:+.1f}")
    if found:
        return f"hold it ({', '.join(found)}): not learnt"
    return "are not shown to hold it"


def _flat(channel: Channel) -> list[str]:
    """The families of the channel without a gain."""
    names = _families(channel, channel.config.channel)
    return [name for name in names if _row(channel, name).ci95[0] <= 0]


def _families(channel: Channel, group: str) -> list[str]:
    """The families of a group: they stand between its row and that of the next group."""
    names = channel.whole.families()
    below = names[names.index(group) + 1 :]
    return list(takewhile(lambda name: row_title(name) == name, below))


def _cost(channel: Channel) -> str:
    runs = list(channel.runs.values())
    minutes = statistics.mean(sum(run.seconds.values()) / 60 for run in runs)
    parameters = channel.whole.trainable_parameters
    patch, control = parameters[channel.arms[2]], parameters[channel.arms[1]]
    return (
        f"`pave demo --channel {channel.config.channel} --seed N`, N = {_seeds(channel)}: "
        f"{minutes:.0f} min a run, {channel.whole.peak_rss_mb / 1024:.1f} GB, {patch:,} trained "
        f"parameters ({control:,} of them the LoRA's). {_trained(channel)}."
    )


def _trained(channel: Channel) -> str:
    """On what the runs were trained; where they differ, which seeds on what."""
    seeds: dict[str, list[str]] = {}
    for seed, training in channel.trainings.items():
        cores = [counted(training["cores"], "core")]
        if training["processor"]:
            cores.append(training["processor"])
        text = f"{how_trained([training])} ({'; '.join(cores)})"
        seeds.setdefault(text, []).append(str(seed))
    parts = []
    for text, own in seeds.items():
        word = "seed" if len(own) == 1 else "seeds"
        parts.append(text if len(seeds) == 1 else f"{word} {', '.join(own)} {text}")
    found = "; ".join(parts)
    return f"{found[0].upper()}{found[1:]}"


def _seeds(channel: Channel) -> str:
    return ", ".join(str(seed) for seed in channel.runs)


def _percent(channel: Channel, arm: str, family: str) -> str:
    return f"{100 * channel.whole.arm(arm, family).accuracy:.1f}"


def _row(channel: Channel, family: str) -> PairedRow:
    return channel.whole.gap(channel.arms[2], channel.arms[1], family)


def _gap(channel: Channel, family: str) -> str:
    row = _row(channel, family)
    interval = f"({100 * row.ci95[0]:+.1f} to {100 * row.ci95[1]:+.1f})"
    return f"{100 * row.difference:+.1f} {interval}{mark(row.clusters)}"


def _by_seed(channel: Channel, family: str) -> str:
    """The difference of each run by itself."""
    gaps = [
        run.gap(channel.arms[2], channel.arms[1], family)
        for run in channel.runs.values()
        if family in run.families()
    ]
    return ", ".join(f"{100 * gap.difference:+.1f}" for gap in gaps)
