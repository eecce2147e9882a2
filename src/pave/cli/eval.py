"""`pave eval`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import model_validator

from pave.cli import output
from pave.cli.settings import Switch, from_words
from pave.evaluate.config import EvalConfig


class EvalSettings(EvalConfig):
    """`EvalConfig` as a command line writes it: the word `none` stands for no value."""

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, values: Any) -> Any:
        return from_words(values)


def eval_verb(*, settings: Annotated[EvalSettings, Parameter(name="*")], json: Switch = False) -> int:
    """Ask the base and patches the same questions about the same frames, and compare.

    Settings come from a YAML file (`--config FILE`) and from flags, which win. An arm is a patch folder, several folders with
    commas between them for patches that work together, or `none` for the base as it is. Differences are
    reported of each later arm to each earlier one, so name the reference arms first. An interrupted evaluation goes on when the
    same command is given again.

    ```
    pave eval --records test.jsonl --out runs/eval --arms.base none --arms.lora runs/lora/patch --arms.sound runs/sound/patch
    pave eval --config eval.yaml --limit 20 --json
    ```

    Args:
        settings: Settings.
        json: Print the results as JSON instead of a table.
    """
    from pave.evaluate.report import table
    from pave.evaluate.run import evaluate

    with output.stages() as stages:
        report = evaluate(EvalConfig.model_validate(settings.model_dump()), progress=stages)
    if json:
        output.as_json(report.model_dump(mode="json"))
        return 0
    output.table(*table(report), numbers=True)
    output.line(f"\nPer cent exact match and 95 % intervals; details in {settings.out / 'report.md'}")
    return 0
