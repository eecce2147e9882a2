"""`QuestionGate`: whether a question is answered with what a fusion adds, or without it.

    open if sqrt(D) u . (q - m) + b >= 0

    q  the question's words, as the frozen base embeds them: their mean, of length 1
    m  the mean of the questions of its training

A residual that is there for every question costs those that do not need it. Were it scaled by a
number of the question's own, questions about one clip could no longer share a prefix. So the gate
is open or closed: there are two prefixes of a clip at most, and one where all questions agree.

In training a question is answered behind both prefixes, and its loss is the one to expect when the
gate is drawn: p * loss(open) + (1 - p) * loss(closed), p being the sigmoid of what is compared with
0. Its gradient is exact, so the gate learns from which of the two losses is smaller; see
`pave.train.gated`.

Questions have much in common ("do you", "?"). Were the mean not taken off, all logits would move
together, to where the most is won: a small loss of half of the questions would never close it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QuestionGate(nn.Module):
    """The gate of one fusion: a number a question, and D + 1 parameters.

    Args:
        width: D, the width of the base's word embeddings.

    Attributes:
        mean: m, which is not trained.

    Example:
        >>> QuestionGate(8)(torch.randn(3, 8))
        tensor([0., 0., 0.], grad_fn=<AddBackward0>)
    """

    def __init__(self, width: int) -> None:
        """Begin undecided."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(()))
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, questions: Tensor) -> Tensor:
        """`[K, D]` questions -> `[K]` logits of being open."""
        apart = questions.to(self.mean) - self.mean
        # Of numbers around 1, so that a step of training moves it as in any other layer.
        apart = apart * apart.shape[-1] ** 0.5
        # No matrix product, which autocast would round: a question is asked without autocast.
        out: Tensor = (apart * self.weight).sum(-1) + self.bias
        return out
