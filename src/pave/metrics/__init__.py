"""Scores and their uncertainty: exact match, accuracy with an interval, paired differences. numpy only, no torch."""

from __future__ import annotations

from pave.metrics.bootstrap import Paired, paired_bootstrap
from pave.metrics.exact import exact_match, normalise
from pave.metrics.intervals import wilson

__all__ = ["Paired", "exact_match", "normalise", "paired_bootstrap", "wilson"]
