"""Scores and their uncertainty: matches, choices, caption scores, intervals, paired tests.

Pure statistics and text, in numpy, without torch: nothing here knows of files, records or arms.
"""

from __future__ import annotations

from pave.answer.thinking import without_thinking
from pave.metrics.bootstrap import MARKED, check_draws, mean_bootstrap
from pave.metrics.captions import CaptionScores, caption_scores
from pave.metrics.choice import choice_letter, stated_option
from pave.metrics.exact import exact_match, normalise
from pave.metrics.final_text import final_text
from pave.metrics.intervals import wilson
from pave.metrics.leo import answer_match, clean_answer
from pave.metrics.numbers import one_token
from pave.metrics.paired import Paired, paired
from pave.metrics.permutation import paired_permutation

__all__ = [
    "MARKED",
    "CaptionScores",
    "Paired",
    "answer_match",
    "caption_scores",
    "check_draws",
    "choice_letter",
    "clean_answer",
    "exact_match",
    "final_text",
    "mean_bootstrap",
    "normalise",
    "one_token",
    "paired",
    "paired_permutation",
    "stated_option",
    "wilson",
    "without_thinking",
]
