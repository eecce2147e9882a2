"""Evaluation: base and patches side by side on the same questions, with paired statistics, a report and a plot.

Example:
    >>> from pave.evaluate import EvalConfig, evaluate
    >>> arms = {"base": None, "sound": "runs/sound/patch"}
    >>> evaluate(EvalConfig(records="test.jsonl", out="out", arms=arms))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pave.evaluate.config import EvalConfig
    from pave.evaluate.report import Report
    from pave.evaluate.run import evaluate

_HOMES = {"EvalConfig": "pave.evaluate.config", "Report": "pave.evaluate.report", "evaluate": "pave.evaluate.run"}

__all__ = ["EvalConfig", "Report", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that reading settings or reports does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pave.evaluate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
