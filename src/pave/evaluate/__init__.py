"""Evaluation: base and patches side by side on the same questions, with paired statistics, a report and a plot.

Example:
    >>> from pave.evaluate import EvalConfig, evaluate
    >>> arms = {"base": None, "sound": "runs/sound/patch"}
    >>> evaluate(EvalConfig(records="test.jsonl", out="out", arms=arms))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import callable_package, lazy_names

if TYPE_CHECKING:
    from pave.evaluate.config import EvalConfig
    from pave.evaluate.report import Report
    from pave.evaluate.run import Share, evaluate, evaluate_share

_RUN = "pave.evaluate.run"
_HOMES = {"EvalConfig": "pave.evaluate.config", "Report": "pave.evaluate.report"}
_HOMES |= dict.fromkeys(("Share", "evaluate", "evaluate_share"), _RUN)

__all__ = ["EvalConfig", "Report", "Share", "evaluate", "evaluate_share"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

callable_package(__name__, "evaluate")
