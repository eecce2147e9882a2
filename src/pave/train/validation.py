"""`Validation`: the settings of scoring a patch while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Validation(BaseModel):
    """Questions that are not trained on, asked every few steps and scored as `pave eval` does.

    Example:
        >>> Validation(every=50, patience=3).keep
        'best'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    records: Path | None = Field(
        None,
        description="Records to validate on, of any format. By default, clips are taken out of the "
        "training records; the run folder's validation.jsonl names them.",
    )
    clips: int | None = Field(
        None,
        ge=1,
        description="Number of clips to validate on: by default all of `records`, or a tenth of "
        "the training clips but at most 200.",
    )
    every: int | None = Field(
        None,
        ge=1,
        description="Number of steps between validations, by default `save_every`. The last step "
        "is always validated.",
    )
    metric: str | None = Field(
        None,
        description="The score that decides which step is best; by default the first that papers "
        "print for the task, which is accuracy for exact match.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop after this many validations in a row that do not beat the best one; "
        "null never stops early.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description='"best" keeps the best patch in `best/`, beside the last one in `patch/`; '
        '"last" keeps the last one alone.',
    )
