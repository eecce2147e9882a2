"""Scores and their uncertainty: matches, choices, caption scores, intervals, paired tests. numpy only, no torch."""

from __future__ import annotations

from pave.metrics.bootstrap import Paired, check_draws, mean_bootstrap, paired_bootstrap
from pave.metrics.captions import CaptionScores, caption_scores
from pave.metrics.choice import choice_letter
from pave.metrics.exact import exact_match, normalise
from pave.metrics.intervals import wilson
from pave.metrics.leo import answer_match, clean_answer
from pave.metrics.permutation import paired_permutation

__all__ = [
    "CaptionScores",
    "Paired",
    "answer_match",
    "caption_scores",
    "check_draws",
    "choice_letter",
    "clean_answer",
    "exact_match",
    "mean_bootstrap",
    "normalise",
    "paired_bootstrap",
    "paired_permutation",
    "wilson",
]
