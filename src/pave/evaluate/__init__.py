"""Evaluation: base and patches side by side on the same questions, with paired statistics.

What tasks and metrics do with items in memory, this room does with arms and files.

Example:
    >>> from pave.evaluate import EvalConfig, evaluate
    >>> arms = {"base": None, "sound": "runs/sound/patch"}
    >>> evaluate(EvalConfig(records="test.jsonl", out="out", arms=arms))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import callable_package, lazy_names

if TYPE_CHECKING:
    from pave.evaluate.compare import CompareReport, compare_files
    from pave.evaluate.config import EvalConfig
    from pave.evaluate.page import write_page
    from pave.evaluate.report import Report
    from pave.evaluate.run import Share, evaluate, evaluate_share
    from pave.evaluate.score import score_files
    from pave.evaluate.swap import SwapShare, evaluate_swap, evaluate_swap_share
    from pave.evaluate.swap_report import SwapReport

_HOMES = {
    "CompareReport": "pave.evaluate.compare",
    "EvalConfig": "pave.evaluate.config",
    "Report": "pave.evaluate.report",
    "Share": "pave.evaluate.run",
    "SwapReport": "pave.evaluate.swap_report",
    "SwapShare": "pave.evaluate.swap",
    "compare_files": "pave.evaluate.compare",
    "evaluate": "pave.evaluate.run",
    "evaluate_share": "pave.evaluate.run",
    "evaluate_swap": "pave.evaluate.swap",
    "evaluate_swap_share": "pave.evaluate.swap",
    "score_files": "pave.evaluate.score",
    "write_page": "pave.evaluate.page",
}

__all__ = [
    "CompareReport",
    "EvalConfig",
    "Report",
    "Share",
    "SwapReport",
    "SwapShare",
    "compare_files",
    "evaluate",
    "evaluate_share",
    "evaluate_swap",
    "evaluate_swap_share",
    "score_files",
    "write_page",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

callable_package(__name__, "evaluate")
