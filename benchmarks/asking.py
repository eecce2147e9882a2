"""Asking a patch about held-out clips, and keeping what the comparison of arms needs of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from answers import Answers

from pave.bases import Base, load_base
from pave.data import read_records
from pave.evaluate import EvalConfig, evaluate
from pave.evaluate.arm_files import read_rows
from pave_world.demo.config import DemoConfig

ARM = "arm"
"""What every patch is called in its evaluation, which has no other."""


@cache
def base_of(name: str) -> Base:
    """A base, which is loaded once."""
    return load_base(name)


def ask(world: DemoConfig, patch: Path, records: Path, store: Path, out: Path) -> None:
    """Ask a patch.

    Args:
        world: The settings under which it was trained.
        patch: Its folder.
        records: The questions.
        store: The token cache.
        out: Folder of the evaluation.
    """
    print(f"\n== asking {out}", flush=True)
    config = EvalConfig(
        records=records,
        out=out,
        base=world.base,
        arms={ARM: str(patch)},
        cache=store,
        batch=world.batch_questions,
        max_new_tokens=world.max_new_tokens,
        resamples=100,  # the page has intervals of its own, over all worlds
        plot=False,
    )
    evaluate(config, base_of(world.base))


def add_said(table: Answers, column: str, records: Path, out: Path) -> None:
    """Put what a patch said into a table, beside what is known of the questions.

    Args:
        table: The answers.
        column: Of this patch.
        records: The questions.
        out: Folder of the evaluation.
    """
    said = read_rows(out / f"{ARM}.jsonl", ARM)
    for record in read_records(records, check_media=False):
        answer = said[ARM, record.id]
        row = {
            "clip": record.meta["clip"],
            "family": record.meta["family"],
            "group": record.meta["channel"],
            "answer": answer.answer,
            column: answer.prediction,
        }
        for name, value in row.items():
            table.add(name, {record.id: value})
