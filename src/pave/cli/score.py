"""`pave score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.texts import counted

if TYPE_CHECKING:
    from pave.tasks.score import ScoreReport


def score_verb(
    task: str,
    /,
    *,
    predictions: Path,
    records: Path | None = None,
    references: Path | None = None,
    style: Literal["default", "authors"] = "default",
    rows: Path | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    json: Switch = False,
) -> int:
    r"""Score predictions against records, or against reference files of the authors' own scripts.

    Predictions are JSON lines of `id` and `prediction` (what `pave eval` writes), or a file of the
    authors' scripts. Caption scores need the extra `eval`; METEOR and the tokenizer behind the
    others need Java.

    ```
    pave score scanqa --predictions runs/eval/patch.jsonl --records val.jsonl \
        --rows patch.rows.jsonl
    pave score avsd --predictions avsd_pred.json \
        --references coco_version_test_gt.json --style authors --json
    ```

    Args:
        task: The benchmark, see `pave prepare --help`.
        predictions: The answers to score.
        records: The records that were asked.
        references: Instead of records, the authors' reference file, paired as their script does.
            AVQA and Ego-Exo4D predictions of theirs carry the answers themselves and need neither.
        style: `authors` scores exactly as the PAVE authors' scripts do.
        rows: Write one JSON line per item, which `pave compare` reads.
        resamples: Bootstrap draws of whole videos for the intervals.
        seed: Seed of the draws.
        json: Print the whole report as JSON.
    """
    from pave.evaluate import score_files
    from pave.tasks import get_task
    from pave.tasks.score import write_rows

    if records is not None and references is not None:
        raise ConfigError("give --records or --references, not both")
    chosen = get_task(task)
    # Rows and report come from one scoring: a second one could draw otherwise.
    report, items = score_files(
        chosen,
        predictions,
        records=records,
        references=references,
        style=style,
        resamples=resamples,
        seed=seed,
    )
    if rows:
        write_rows(rows, items)
    if json:
        output.as_json(report.model_dump(mode="json"))
    else:
        _show(report)
    return 0


def _show(report: ScoreReport) -> None:
    """The report as tables, and what is missing of it in words."""
    from pave.evaluate.table import few_note, label_table, score_table

    table = score_table(report)
    output.table(*table, numbers=True)
    for note in few_note(table):
        output.line(note)
    if report.labels:
        output.line()
        output.table(*label_table(report), numbers=True)
    # Nobody has counted the splits of some benchmarks.
    published = f"; the paper's split has {report.published:,}" if report.published else ""
    output.line(
        f"\n{report.scored:,} of {counted(report.expected, 'item')} scored{published}. Style "
        f"{report.style}, prompt {report.prompt}."
    )
    output.some("without a prediction", report.missing)
    output.some("without an item", report.unknown)
    for name, note in report.notes.items():
        output.line(f"{name}: {note}")
