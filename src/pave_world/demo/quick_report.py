"""`Quick`: all that the short demo found, in words, as data and as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pave.evaluate import write_page
from pave.evaluate.report import PairedRow, Report, markdown
from pave.files import write_text_atomically
from pave.texts import counted
from pave_world.demo.pace import Cost

PAGE = "report.html"
CHANNEL = "audio"
_SHOWN = 100  # questions of the page


class Quick(BaseModel):
    """The content of the short demo's `results.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concert: dict[str, str] = Field(description="Who -> answer about the concert.")
    shipped: Report = Field(description="Base, control and patch as they are shipped.")
    new: Report | None = Field(description="Base and the new patch; null where none was trained.")
    new_arm: str = Field(description="What the new patch is called there.")
    shipped_steps: int | None = Field(description="Steps of the shipped patch, as its card says.")
    planned_clips: int = Field(description="Held-out clips that a fast machine is asked about.")
    steps: int = Field(description="Steps of the new patch that were planned.")
    steps_done: int = Field(description="Steps that were done.")
    train_clips: int = Field(description="Clips that the new patch was trained on.")
    curve: list[tuple[int, float]] = Field(description="(step, training loss) of the new patch.")
    seconds: dict[str, float] = Field(description="Wall seconds: all, and of the training.")
    costs: list[Cost] = Field(description="What each stage cost.")
    budget: float = Field(description="Wall seconds that it was given.")
    peak_rss_mb: float = Field(description="Peak memory of all processes together, in MB.")
    machine: str = Field(description="The processor.")
    command: str = Field(description="The command.")
    settings: dict[str, Any] = Field(description="Resolved settings.")

    def lines(self) -> list[str]:
        """What was found, in sentences."""
        found = [_shipped(self.shipped), *self._training()]
        whole = self.seconds["all"]
        spent = sum(cost.cpu for cost in self.costs)
        found.append(
            f"{whole:.0f} s of {self.budget:.0f} planned ({spent:.0f} CPU seconds), peak memory "
            f"{self.peak_rss_mb:,.0f} MB, on {self.machine}."
        )
        if whole > self.budget + 5:
            found.append(
                "This machine is busy, or slower than those that the time was chosen for: even the "
                "parts that cannot be shortened took longer."
            )
        return found

    def _training(self) -> list[str]:
        """How much the new patch learnt."""
        if self.steps == 0:
            return ["No patch was trained, because too little time was left."]
        took = f"{self.seconds['training']:.0f} s"
        if self.new is None:
            return [
                f"The training from scratch was stopped after {self.steps_done} of {self.steps} "
                f"steps ({took}), because they took longer than planned. The unfinished patch "
                "was not evaluated."
            ]
        mine = 100 * self.new.arm(self.new_arm, CHANNEL).accuracy
        base = 100 * self.new.arm("base", CHANNEL).accuracy
        gap = self.new.gap(self.new_arm, "base", CHANNEL)
        lines = [
            f"The patch that was trained just now, {counted(self.steps, 'step')} in {took}, "
            f"answers {mine:.0f} % of the questions that need sound; the base {base:.0f} % "
            f"(difference {_points(gap)})."
        ]
        full = self.shipped_steps or 600
        theirs = 100 * self.shipped.arm("patch", CHANNEL).accuracy
        lines.append(
            f"That is {100 * self.steps / full:.0f} % of the shipped patch's {full} steps, which "
            f"give {theirs:.0f} %. Part of this gain does not come from hearing: a LoRA learns "
            "without any sound how such questions are answered. `pave demo --full` trains that "
            "control for as many steps."
        )
        return lines


def _shipped(report: Report) -> str:
    """What the shipped patch is worth."""
    gap = report.gap("patch", "LoRA-only", CHANNEL)
    control = report.gap("patch", "LoRA-only", "video")
    return (
        f"The shipped patch against a LoRA that was trained as long without the sound, on "
        f"{counted(report.clips, 'held-out clip')}: {_points(gap)} points on questions that need "
        f"sound, {_points(control)} on the visual control."
    )


def _points(row: PairedRow) -> str:
    """A difference in points with its 95 % interval."""
    low, high = row.ci95
    return f"{100 * row.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def sparkline(curve: list[tuple[int, float]]) -> str:
    """A learning curve in one line of text, from its highest loss to its lowest.

    Example:
        >>> sparkline([(10, 2.0), (20, 1.0), (30, 0.5)])
        '█▃▁'
    """
    bars = "▁▂▃▄▅▆▇█"
    losses = [loss for _, loss in curve]
    if not losses:
        return ""
    low, high = min(losses), max(losses)
    if low == high:
        return bars[0] * len(losses)
    line = ""
    for loss in losses:
        height = (loss - low) / (high - low)  # 0 to 1
        line += bars[round(height * (len(bars) - 1))]
    return line


def write_quick(quick: Quick, out: Path, progress: Callable[[str, int, int], None]) -> Path:
    """Write `report.md` and the page with clips and sounds; the page's path."""
    blocks = [markdown(quick.shipped, title="What the shipped sound patch is worth")]
    if quick.concert:
        # The question is `quick.QUESTION`; who does not hear answers what it sees.
        blocks.append("# A real concert: what do you hear?\n")
        for who, answer in quick.concert.items():
            blocks.append(f"- {who}: {answer}")
    if quick.curve:
        losses = ", ".join(f"{step}: {loss:.2f}" for step, loss in quick.curve)
        blocks.append(f"# Training from scratch\n\nLoss by step: {losses}\n")
    if quick.new is not None:
        blocks.append(markdown(quick.new, title="What the new patch is worth"))
    blocks.append("# In words\n\n" + "\n\n".join(quick.lines()) + "\n")
    blocks.append(f"# What it cost\n\n{_table(quick.costs)}")
    write_text_atomically(out / "report.md", "\n".join(blocks))
    # The clips on which the arms differ come first; each takes a second or more.
    return write_page(out / "eval", out / PAGE, questions=_SHOWN, progress=progress)


def write_results(quick: Quick, out: Path) -> None:
    """Write `results.json`."""
    write_text_atomically(out / "results.json", quick.model_dump_json(indent=2) + "\n")


def _table(costs: list[Cost]) -> str:
    """What each stage cost, as a table."""
    lines = "| stage | wall seconds | seconds of the processor |\n|---|---:|---:|\n"
    for cost in costs:
        lines += f"| {cost.stage} | {cost.wall:.0f} | {cost.cpu:.0f} |\n"
    return lines
