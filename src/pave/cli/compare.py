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
    """Compare two sets of answers to the same questions: difference, paired interval and p-value of every score.

    A and B are files of items, as `pave score --rows` or `pave eval` write them. Only questions in
    both count; those in one are counted and named. Intervals and p-values resample whole videos.

    ```
    pave compare lora.rows.jsonl patch.rows.jsonl
    pave compare runs/eval/base.jsonl runs/eval/patch.jsonl --records test.jsonl --json
    ```

    Args:
        a: Items of the first arm.
        b: Items of the second; differences are second minus first.
        records: The records that were asked, to know which questions share a video where the files
            do not say.
        resamples: Bootstrap draws of whole videos for the intervals, and as many of the permutation
            test.
        seed: Seed of the draws.
        json: Print the comparison as JSON.
    """
    from pave.tasks.compare import compare_files

    result = compare_files(a, b, records=records, resamples=resamples, seed=seed)
    if json:
        output.as_json(asdict(result))
        return 0
    table = []
    for row in result.rows:
        interval = f"{100 * row.ci95[0]:+.1f} to {100 * row.ci95[1]:+.1f}" if row.ci95 else ""
        means = (f"{100 * row.a:.1f}", f"{100 * row.b:.1f}", f"{100 * row.difference:+.1f}")
        table.append(
            [row.label, row.score, str(row.n), str(row.clusters), *means, interval, f"{row.p:.4f}"]
        )
    output.table(
        ["questions", "score", "n", "videos", "a", "b", "b - a", "95 % interval", "p"],
        table,
        numbers=True,
    )
    output.line(
        f"\na: {a}, b: {b}. {result.shared:,} questions in both; intervals and p-values resample "
        f"{result.unit}."
    )
    for arm, names in (("a", result.only_a), ("b", result.only_b)):
        if names:
            output.line(
                f"{len(names):,} only in {arm}: "
                f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            )
    return 0
