"""`pave compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pave.cli import output
from pave.cli.settings import Switch


def compare_verb(
    a: Path,
    b: Path,
    /,
    *,
    records: Path | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    json: Switch = False,
) -> int:
    """Compare two sets of answers to the same questions.

    Every score's difference comes with its paired interval and p-value. A and B are files of items,
    as `pave score --rows` or `pave eval` write them. Only questions in both count; those in one are
    counted and named. Intervals and p-values resample whole videos.

    ```
    pave compare lora.rows.jsonl patch.rows.jsonl
    pave compare runs/eval/base.jsonl runs/eval/patch.jsonl --records test.jsonl --json
    ```

    Args:
        a: Items of the first arm.
        b: Items of the second; differences are second minus first.
        records: The records that were asked, to know which questions share a video where the files
            do not say.
        resamples: Bootstrap draws of whole videos for the intervals (of 20 videos and more), and as
            many of the permutation test.
        seed: Seed of the draws.
        json: Print the comparison as JSON.
    """
    from pave.evaluate import compare_files
    from pave.evaluate.table import comparison_table, few_note

    result = compare_files(a, b, records=records, resamples=resamples, seed=seed)
    if json:
        output.as_json(asdict(result))
        return 0
    table = comparison_table(result.rows)
    output.table(*table, numbers=True)
    output.line(
        f"\na: {a}, b: {b}. {result.shared:,} questions in both; intervals and p-values resample "
        f"{result.unit}."
    )
    for note in few_note(table):
        output.line(note)
    # Questions that one side lacks are named, never dropped in silence.
    output.some("only in a", result.only_a)
    output.some("only in b", result.only_b)
    return 0
