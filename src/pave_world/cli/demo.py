"""`pave demo`."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field, model_validator

from pave.cli import output
from pave.cli.settings import Switch, from_words
from pave.errors import ConfigError
from pave_world.demo.config import DemoConfig

_SHORT = frozenset({"out", "seed", "seconds", "precision"})
"""Settings that the short demo has, too."""


class DemoSettings(DemoConfig):
    """`DemoConfig` as a command line writes it."""

    seconds: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Wall seconds that the short demo may take: its training is as long as the "
        "time that is left. By default 280, or 165 if the processor has units for bf16.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, values: Any) -> Any:
        return from_words(values)


def demo_verb(
    *,
    full: Switch = False,
    open_page: Annotated[Switch, Parameter(name="--open")] = False,
    settings: Annotated[DemoSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show all of pave on a CPU, in five minutes at most.

    The sound patch that comes with pave, its LoRA-only control, and the base answer questions about
    a real concert and about clips that none of them has seen. A patch is then trained from scratch
    in the time that is left. With `--full`, or any setting that only the whole demo has, a patch
    and its control are trained to the end instead. This takes seven minutes on two cores with bf16
    units, and up to half an hour without.

    ```
    pave demo
    pave demo --seconds 600 --open
    pave demo --full --seed 1 --out outputs/demo-1
    pave demo --full --channel views --out outputs/demo-views
    ```

    Args:
        full: Train to the end. An interrupted demo goes on; a finished one starts afresh.
        open_page: Show the report in a browser.
        settings: Everything else.
    """
    given = settings or DemoSettings()
    own = sorted(given.model_fields_set - _SHORT)
    if own and not full:
        output.note(f"{own[0]} is a setting of the whole demo, so the whole demo runs (--full)")
    if not (full or own):
        page = _short(given)
    elif given.seconds is not None:
        raise ConfigError("--seconds cannot limit the whole demo; leave out --seconds or --full")
    else:
        page = _whole(given)
    if open_page:
        webbrowser.open(page.resolve().as_uri())
    return 0


def _short(given: DemoSettings) -> Path:
    """Run the short demo, and print what it found."""
    # Before torch is loaded, which reads it once. Threads that wait then give their core away:
    # where others compute as well, spinning takes minutes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from pave.evaluate.report import table
    from pave_world.demo.quick import QuickConfig, run_quick
    from pave_world.demo.quick_report import PAGE, sparkline

    chosen = given.model_dump(include=set(_SHORT))
    config = QuickConfig.model_validate(chosen)
    with output.stages() as stages:
        quick = run_quick(config, output.line, stages)
    output.line()
    output.table(*table(quick.shipped), numbers=True)
    output.line("\nPer cent exact match with 95 % intervals (of differences paired, over clips).")
    if quick.curve:
        ends = f"loss {quick.curve[0][1]:.2f} to {quick.curve[-1][1]:.2f}"
        output.line(f"Training loss of the new patch: {sparkline(quick.curve)} ({ends})")
    for sentence in quick.lines():
        output.line(sentence)
    page = config.out / PAGE
    output.line(f"\nClips, sounds, and answers: {page} (in words: {config.out / 'report.md'})")
    output.line("Now ask about a video of your own:")
    output.line(f'  pave ask VIDEO.mp4 "What do you hear?" --patch {config.patch}')
    return page


def _whole(given: DemoSettings) -> Path:
    """Run the whole demo, and print its results."""
    from pave.evaluate.report import table
    from pave_world.demo.run import run_demo

    config = DemoConfig.model_validate(given.model_dump(exclude={"seconds"}))
    with output.stages() as stages:
        report = run_demo(config, output.line, stages)
    output.line()
    output.table(*table(report), numbers=True)
    output.line(
        "\nPer cent exact match on held-out clips, with 95 % intervals (the differences': paired, "
        "over clips)."
    )
    page = config.out / "report.md"
    output.line(
        f"{sum(report.seconds.values()):.0f} s, at most {report.peak_rss_mb:,.0f} MB, on "
        f"{report.versions['processor']}. More: {page}"
    )
    output.line("\nNow ask about a video of your own:")
    output.line(f"  pave ask VIDEO.mp4 {config.preset.ask} --patch {config.out / 'patch'}")
    return page
