"""`pave demo`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import model_validator

from pave.cli import output
from pave.cli.settings import from_words
from pave_world.demo.config import DemoConfig


class DemoSettings(DemoConfig):
    """`DemoConfig` as a command line writes it."""

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, values: Any) -> Any:
        return from_words(values)


def demo_verb(*, settings: Annotated[DemoSettings | None, Parameter(name="*")] = None) -> int:
    """Show all of pave on a CPU: make a world, train a patch and its control.

    Compare with the base.

    Clips are made, with sound unless another channel is chosen; the frozen base and the channel's
    encoder see each once; a LoRA alone and a LoRA with a patch are trained for the same steps;
    base, control and patch then answer questions about clips that none of them has seen. An
    interrupted demo goes on; a finished one starts afresh.

    ```
    pave demo
    pave demo --seed 1 --out outputs/demo-1
    pave demo --channel views --out outputs/demo-views
    ```
    """
    from pave.evaluate.report import table
    from pave_world.demo.run import run_demo

    config = DemoConfig.model_validate(settings.model_dump() if settings else {})
    with output.stages() as stages:
        report = run_demo(config, output.line, stages)
    output.line()
    output.table(*table(report), numbers=True)
    output.line(
        "\nPer cent exact match on held-out clips, with 95 % intervals (the differences': paired, "
        "over clips)."
    )
    output.line(
        f"{sum(report.seconds.values()):.0f} s, at most {report.peak_rss_mb:,.0f} MB. More: "
        f"{config.out / 'report.md'}"
    )
    output.line("\nNow ask about a video of your own:")
    output.line(f"  pave ask VIDEO.mp4 {config.preset.ask} --patch {config.out / 'patch'}")
    return 0
