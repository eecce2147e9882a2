"""`Counterfactual`: the settings of training on exchanged channels."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Counterfactual(BaseModel):
    """Training on grids of two clips, so that a patch follows its channel and not the picture.

    Two clips that are asked the same and answer differently make four cells: each picture with each
    channel. A question about the channel is answered from the clip of the channel, one about the
    picture (`meta.channel: video`) from the clip of the picture. So what the picture suggests tells
    nothing about the answer. After DMC-Repair (arXiv 2609.36798).

    Example:
        >>> Counterfactual(loss="ce").share
        0.5
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the training sequences that are cells; the rest are the unchanged "
        "records.",
    )
    loss: Literal["hinge", "ce"] = Field(
        "hinge",
        description="Loss of a cell. hinge: max(0, margin - (s(right) - s(wrong))), where s is "
        "the mean log-probability of an answer's tokens and wrong is the other "
        "clip's answer. ce: cross-entropy of the right answer, as for any other "
        "record.",
    )
    margin: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Margin of the hinge, in nats per token; once the right answer leads by the "
        "margin, a cell has no more effect.",
    )
