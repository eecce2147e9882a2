"""How loud patches are beside the picture: |residual| / |visual tokens|."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pave.bases.visual import Visual
from pave.patches.patch import Patch
from pave.tokens import Tokens


class Loudness:
    """Listens to what the fusion functions of some patches give.

    Args:
        patches: The patches, which are listened to from now on.
    """

    def __init__(self, patches: Sequence[Patch]) -> None:
        self._patches = patches
        self._square = torch.zeros(())  # of the residuals since `begin`, added up
        for patch in patches:
            for part in patch.parts.values():
                part.fusion.register_forward_hook(self._listen)

    def begin(self, device: torch.device) -> None:
        """Forget what was heard."""
        self._square = torch.zeros((), device=device)

    def ratio(self, visuals: Sequence[Visual], channels: Sequence[Mapping[str, Tokens]]) -> Tensor:
        """|residual| / |visual tokens| over the clips that have the channel; 0 if none has.

        Args:
            visuals: Of each clip that was read since `begin`.
            channels: The side tokens of each.
        """
        squares = []
        for visual, clip in zip(visuals, channels, strict=True):
            # A clip without the channel has no residual, so its picture does not count either.
            if not self._adds_to(clip):
                continue
            grid = visual.grid().float()  # [T, S, D]
            square = grid.square().sum()
            squares.append(square)
        if not squares:
            return self._square  # 0
        shown = torch.stack(squares).sum()
        squared = self._square / shown
        return squared.sqrt()

    def _adds_to(self, clip: Mapping[str, Tokens]) -> bool:
        """Whether any of the patches adds something to a clip."""
        for patch in self._patches:
            found = patch.tokens_in(clip)
            for tokens in found.values():
                if not tokens.muted:
                    return True
        return False

    def _listen(self, module: nn.Module, args: Any, output: Sequence[Tensor]) -> None:
        """Add up the squares of the residuals, one tensor `[T_q, S_q, D]` a clip."""
        for residual in output:
            # In fp32, so that the squares of bf16 do not run over.
            numbers = residual.detach().float()
            square = numbers.square().sum()
            self._square = self._square + square
