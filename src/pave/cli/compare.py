"""`pave compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.texts import counted

if TYPE_CHECKING:
    from pave.evaluate import CompareReport


def compare_verb(
    a: Path,
    b: Path,
    /,
    *,
    records: Path | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    format: Literal["text", "markdown", "latex", "csv", "json"] = "text",
    json: Switch = False,
) -> int:
    r"""Compare two sets of answers to the same questions.

    The difference of every score is shown with a paired interval and a p-value. A and B are files
    of items, as `pave score --rows` or `pave eval` writes them. Only questions in both files are
    compared; the others are counted and named. Intervals and p-values resample whole videos.

    ```
    pave compare lora.rows.jsonl patch.rows.jsonl
    pave compare runs/eval/items/base.jsonl runs/eval/items/patch.jsonl --json
    pave compare lora.rows.jsonl patch.rows.jsonl --format latex > table.tex
    ```

    Args:
        a: Items of the first arm.
        b: Items of the second arm. Differences are second minus first.
        records: The records that were asked. They are needed if the files do not say which
            questions share a video.
        resamples: Number of bootstrap samples of whole videos for the intervals (from 20 videos
            on), and of permutations for the p-value.
        seed: Seed of the random numbers.
        format: `latex` needs the package booktabs; `csv` and `json` hold fractions, the others
            points. All but `json` print notes on the error stream.
        json: The same as `--format json`.
    """
    from pave.evaluate import compare_files

    if json and format not in ("text", "json"):
        raise ConfigError(f"--json and --format {format} exclude each other; leave one out")
    result = compare_files(a, b, records=records, resamples=resamples, seed=seed)
    if json or format == "json":
        output.as_json(asdict(result))
    elif format == "text":
        _show(result, f"a: {a}, b: {b}")
    else:
        _write(result, format)
    return 0


def _show(result: CompareReport, arms: str) -> None:
    """The table and what there is to say of it."""
    from pave.evaluate.table import comparison_table, few_note

    table = comparison_table(result.rows)
    output.table(*table, numbers=True)
    output.line()
    output.line(f"{arms}. {_how(result)}")
    for note in few_note(table):
        output.line(note)
    # Questions that one side lacks are named, never dropped in silence.
    output.some("only in a", result.only_a)
    output.some("only in b", result.only_b)


def _write(result: CompareReport, form: str) -> None:
    """The table alone on stdout, for a file; the rest on stderr."""
    from pave.evaluate.formats import FORMATS
    from pave.evaluate.table import comparison_table, few_note

    output.line(FORMATS[form](result.rows))
    output.note(_how(result))
    for note in few_note(comparison_table(result.rows)):
        output.note(note)
    for name, missing in (("a", result.only_a), ("b", result.only_b)):
        if missing:
            output.note(f"only in {name}, and not compared: {counted(len(missing), 'question')}")


def _how(result: CompareReport) -> str:
    """What was compared, and what was resampled."""
    both = f"{counted(result.shared, 'question is', 'questions are')} in both files"
    return f"{both}; intervals and p-values resample {result.unit}."
