"""Where a fusion looks: the attention of its last block, as weights of the side channel's steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pave.fusion import align
from pave.fusion.module import Attention, Fusion, Seen


class Attended(NamedTuple):
    """What a fusion makes of one clip, and what it looks at meanwhile.

    Attributes:
        residual: `[T_q, S_q, out_dim]`, as the fusion itself gives it.
        weights: `[T_q, T_k]`, how much each frame attends each side step: the mean over heads and
            tokens of a frame, in the last block. Rows sum to 1.
    """

    residual: Tensor
    weights: Tensor


@torch.no_grad()
def attend(
    fusion: Fusion,
    query: Tensor,
    side: Tensor,
    query_times: Tensor | None = None,
    side_times: Tensor | None = None,
) -> Attended:
    """The residual of one clip, with the attention behind it.

    Args:
        fusion: The fusion.
        query: `[T_q, S_q, query_dim]`, the base's visual tokens.
        side: `[T_k, S_k, side_dim]`, at least one token.
        query_times: `[T_q]` seconds.
        side_times: `[T_k]` seconds.

    Raises:
        ChannelError: If shapes, counts or times do not fit.

    Example:
        >>> fusion = Fusion(FusionConfig(side_dim=8, query_dim=6, out_dim=10, hidden=16))
        >>> attended = attend(fusion, torch.randn(4, 9, 6), torch.randn(30, 1, 8))
        >>> tuple(attended.weights.shape), round(float(attended.weights.sum()))
        ((4, 30), 4)
    """
    pieces: list[Tensor] = []  # [F, L] of some frames each, as `Fusion.chunk` cuts them

    def hear(module: Attention, given: tuple[Tensor, Seen], _: Tensor) -> None:
        weights = module.weights(*given)  # [F, heads, S, L]
        mean = weights.float().mean((1, 2))
        pieces.append(mean.cpu())

    last = fusion.blocks[-1]
    hook = last.get_submodule("attention").register_forward_hook(hear)
    try:
        (residual,) = fusion([query], [side], [query_times], [side_times])
    finally:
        hook.remove()
    if fusion.learnt_query is not None:
        query = fusion.learnt_query
    frames = fusion.aligned(query, side, query_times, side_times)
    of_tokens = _by_token(pieces, frames.runs, len(frames.side))
    of_steps = of_tokens.unflatten(1, (-1, side.shape[1])).sum(2)
    if of_steps.shape[1] != len(side):  # stretched to as many steps as frames
        # A stretched step is a mean of two neighbours; each gets its share.
        itself = torch.eye(len(side))[:, None]
        share = align.stretch(itself, of_steps.shape[1])
        of_steps = of_steps @ share[:, 0]
    return Attended(residual, of_steps)


def _by_token(pieces: list[Tensor], runs: Tensor, tokens: int) -> Tensor:
    """`[F, L]` of runs, in pieces -> `[F, tokens]`, put where the runs lie."""
    place, _ = align.places(runs)  # [F, longest L]
    longest = place.shape[1]
    rows = [F.pad(piece, (0, longest - piece.shape[1])) for piece in pieces]
    # Padding has no weight, so where it is added makes no difference.
    found = torch.zeros(len(runs), tokens)
    return found.scatter_add_(1, place, torch.cat(rows))
