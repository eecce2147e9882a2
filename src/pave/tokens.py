"""`Tokens`: a side channel as a sequence of feature vectors with timestamps.

It is the one type that all parts of pave exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pave.arguments import as_kind
from pave.errors import ChannelError


@dataclass(frozen=True)
class Tokens:
    """T steps in time, S tokens a step, C features each, and the time of each step.

    Attributes:
        values: `[T, S, C]` float tensor.
        times: `[T]` float64 tensor, seconds from the start of the clip, non-decreasing. A step
            stands for the instant at its centre (a 0.2 s sound window starting at 0 has time 0.1).
        muted: Whether fusions pass over them, because the question's gate is closed. The channel is
            there all the same, so the patch's LoRA works.

    Raises:
        ChannelError: If shapes disagree, a value is not finite, or times go backwards.

    Example:
        >>> Tokens(torch.zeros(3, 1, 8), torch.tensor([0.0, 0.5, 1.0])).steps
        3
    """

    values: Tensor
    times: Tensor
    muted: bool = False

    def __post_init__(self) -> None:
        """Check the shapes once, where tokens are made, so that no later code has to."""
        for part in (self.values, self.times):
            as_kind(part, Tensor, "tokens and their times are tensors", ChannelError)
        if self.values.dim() != 3:
            raise ChannelError(
                f"tokens must be [T, S, C], got shape {tuple(self.values.shape)}; add the missing "
                "axis"
            )
        if self.times.shape != self.values.shape[:1]:
            raise ChannelError(
                f"one time per step of tokens is needed ({self.values.shape[0]}), got shape "
                f"{tuple(self.times.shape)}"
            )
        object.__setattr__(self, "times", self.times.to(torch.float64))
        if not bool(torch.isfinite(self.values).all()) or not bool(
            torch.isfinite(self.times).all()
        ):
            raise ChannelError("tokens hold a NaN or infinite value; check the encoder's input")
        if bool((self.times.diff() < 0).any()):
            raise ChannelError("token times must not go backwards; sort the steps by time")

    @property
    def steps(self) -> int:
        """T, the number of steps in time."""
        return int(self.values.shape[0])

    @property
    def dim(self) -> int:
        """C, the number of features of one token."""
        return int(self.values.shape[2])

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens with their values on `device`.

        Times stay where they are: they steer, they are not computed on.
        """
        return replace(self, values=self.values.to(device))
