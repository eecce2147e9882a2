"""The tables, plots and sentences of docs/results.md and of the README's summary, made from pooled runs."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from pooled import Channel

from pave.evaluate.items import TITLES
from pave.evaluate.plot import draw
from pave.evaluate.table import PairedRow

ROOT = Path(__file__).parents[1]
PLOTS = ROOT / "docs" / "assets"
ENOUGH, HARMLESS = 0.15, 0.03  # what a sense should be worth, and what it may cost elsewhere


def write_pages(channels: Sequence[Channel]) -> None:
    """Fill what stands between the markers of both pages, and draw a plot for each channel."""
    for channel in channels:
        draw(channel.whole, PLOTS / f"results-{channel.config.sense}.png")
    sections = [summary(channels), *(section(channel) for channel in channels)]
    for page, text in ((ROOT / "README.md", summary(channels)), (ROOT / "docs" / "results.md", "\n\n".join(sections))):
        page.write_text(between_marks(page.read_text("utf-8"), "results", text), "utf-8")
    print(summary(channels))


def between_marks(page: str, mark: str, text: str) -> str:
    """`page` with the lines between `<!-- mark:start -->` and `<!-- mark:end -->` replaced.

    Raises:
        SystemExit: If the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- {mark}:start -->\n).*?(<!-- {mark}:end -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"the page has no markers <!-- {mark}:start --> and <!-- {mark}:end -->")
    return pattern.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)


def summary(channels: Sequence[Channel]) -> str:
    """A line a channel: what needs it, and the visual control."""
    lines = [
        "| questions that need | n | base | LoRA-only | patch | patch - LoRA-only | and on visual control |",
        "|---" * 7 + "|",
    ]
    for channel in channels:
        group = channel.config.sense
        shares = " | ".join(_percent(channel, arm, group) for arm in channel.arms)
        name, count = TITLES[group].removeprefix("needs "), channel.whole.arm(channel.arms[0], group).n
        lines.append(f"| {name} | {count} | {shares} | {_gap(channel, group)} | {_gap(channel, 'visual')} |")
    return "\n".join([*lines, "", _note(channels)])


def section(channel: Channel) -> str:
    """Everything about one channel: verdict, table of families, plot, command and cost."""
    sense, (base, control, patch) = channel.config.sense, channel.arms
    run = channel.config
    settings = ", ".join(f"{name}={value}" for name, value in run.encoder_settings.items())
    lines = [
        f"## {sense}",
        "",
        f"Encoder `{run.preset.channel}/{run.encoder}`{f' ({settings})' if settings else ''}. {verdict(channel)}",
        "",
        f"| questions | n | {base} | {control} | {patch} | patch - LoRA-only | each seed |",
        "|---" * 7 + "|",
    ]
    for family in channel.whole.families():
        shares = " | ".join(_percent(channel, arm, family) for arm in channel.arms)
        name = f"**{TITLES[family]}**" if family in TITLES else family
        count = channel.whole.arm(base, family).n
        lines.append(f"| {name} | {count} | {shares} | {_gap(channel, family)} | {_by_seed(channel, family)} |")
    return "\n".join([*lines, "", f"![Accuracy by question family](assets/results-{sense}.png)", "", _cost(channel)])


def verdict(channel: Channel) -> str:
    """One or two sentences that say whether the sense helped, also when it did not."""
    group = channel.config.sense
    gain, harm = _row(channel, group), _row(channel, "visual")
    if gain.ci95[0] <= 0:
        helped = "The patch is not shown to help: the interval of its difference to the LoRA alone holds zero."
    elif gain.difference < ENOUGH:
        helped = f"The patch helps, but by less than the {100 * ENOUGH:.0f} points that we hold worth a channel."
    else:
        helped = (
            f"The patch answers {100 * gain.difference:.0f} in a hundred questions more than the same LoRA without the sense."
        )
    flat = [name for name in _families(channel, group) if _row(channel, name).ci95[0] <= 0]
    if flat and gain.ci95[0] > 0:
        helped += f" No gain is shown on: {', '.join(flat)}."
    if abs(harm.difference) <= HARMLESS:
        return f"{helped} What needs no such sense stays within {100 * HARMLESS:.0f} points."
    way = "loses" if harm.difference < 0 else "gains"
    return f"{helped} On visual questions it {way} {100 * abs(harm.difference):.1f} points."


def _families(channel: Channel, group: str) -> list[str]:
    """The families of a group: they stand between its row and that of the next group."""
    names = channel.whole.families()
    below = names[names.index(group) + 1 :]
    return list(takewhile(lambda name: name not in TITLES, below))


def _note(channels: Sequence[Channel]) -> str:
    seeds = "; ".join(dict.fromkeys(_seeds(channel) for channel in channels))
    return (
        f"Exact match in percent on held-out clips, seeds of world and training pooled: {seeds}; differences with 95"
        " % intervals (paired, over the clips of all seeds). Both trainings of a run have the same clips, steps, batches, rates"
        f" and LoRA. Command: `make results`. {_machine(channels)}"
    )


def _machine(channels: Sequence[Channel]) -> str:
    runs = [run for channel in channels for run in channel.runs.values()]
    hours = sum(sum(run.seconds.values()) for run in runs) / 3600
    versions = runs[0].versions
    return (
        f"{len(runs)} runs, {hours:.1f} h added up, on {os.cpu_count()} CPU cores ({platform.machine()}),"
        f" trained in {channels[0].config.precision}, torch {versions['torch']}."
    )


def _cost(channel: Channel) -> str:
    minutes = [sum(run.seconds.values()) / 60 for run in channel.runs.values()]
    parameters = channel.whole.trainable_parameters
    patch, control = parameters[channel.arms[2]], parameters[channel.arms[1]]
    return (
        f"`pave demo --sense {channel.config.sense} --seed N`, N = {_seeds(channel)}: {statistics.mean(minutes):.0f} min"
        f" a run, {channel.whole.peak_rss_mb / 1024:.1f} GB, {patch:,} trained parameters ({control:,} of them the LoRA's)."
    )


def _seeds(channel: Channel) -> str:
    return ", ".join(str(seed) for seed in channel.runs)


def _percent(channel: Channel, arm: str, family: str) -> str:
    return f"{100 * channel.whole.arm(arm, family).accuracy:.1f}"


def _row(channel: Channel, family: str) -> PairedRow:
    return channel.whole.gap(channel.arms[2], channel.arms[1], family)


def _gap(channel: Channel, family: str) -> str:
    row = _row(channel, family)
    return f"{100 * row.difference:+.1f} ({100 * row.ci95[0]:+.1f} to {100 * row.ci95[1]:+.1f})"


def _by_seed(channel: Channel, family: str) -> str:
    """The difference of each run by itself."""
    gaps = [run.gap(channel.arms[2], channel.arms[1], family) for run in channel.runs.values() if family in run.families()]
    return ", ".join(f"{100 * gap.difference:+.1f}" for gap in gaps)
