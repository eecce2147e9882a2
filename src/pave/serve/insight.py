"""What a patch does on one clip, in numbers: where its fusion looks, and how much it adds.

attention   [T_q, T_k]   how much each frame attends each side step; rows sum to 1
residual    [T_q]        length of what the patch adds, as a part of the tokens' own length
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pave.bases.visual import Visual
from pave.data import ClipFeatures
from pave.errors import ChannelError
from pave.fusion import Fusion, align, rope
from pave.patches.patch import Patch


@dataclass(frozen=True)
class Insight:
    """What one patch does on one clip.

    Attributes:
        patch: Its name.
        times: `[T_q]` seconds of the frames.
        side_times: `[T_k]` seconds of the side steps.
        attention: `[T_q, T_k]`, mean over heads and tokens of a frame in the fusion's last block;
            None for fusions that do not attend.
        residual: `[T_q]`, mean over a frame's tokens of the residual's length, divided by that of
            the tokens.
    """

    patch: str
    times: list[float]
    side_times: list[float]
    attention: Tensor | None
    residual: Tensor


@torch.no_grad()
def look_into(patch: Patch, clip: ClipFeatures, channel: str | None = None) -> Insight:
    """What a patch does on a clip, at weight 1.

    Args:
        patch: With a fusion.
        clip: What was seen of the clip, the patch's channel included.
        channel: Of a patch with several channels the one to look into; the first that the clip has
            when not given.

    Raises:
        ChannelError: If the clip lacks the channel, or the patch has no fusion.

    Example:
        >>> look_into(model.patches["sound"], features).residual  # doctest: +SKIP
        tensor([0.12, 0.31, 0.30, 0.11])
    """
    heard = patch.tokens_in(clip.channels)
    if channel is None:
        channel = next(iter(heard), "")
    if channel not in heard:
        raise ChannelError(f"patch '{patch.name}' adds nothing to this clip: it lacks its channel")
    part, side = patch.parts[channel], heard[channel]
    fusion = part.fusion
    place = next(fusion.parameters())
    query = _query(clip.visual, part.spec.fusion.query).to(place)  # [T_q, S, C_q]
    values = side.values.to(place)  # [T_k, S_k, C]
    times, moments = [clip.clip.times], [side.times]
    seen: list[tuple[Any, Tensor, Any]] = []  # attention module, its input, what it looks at
    hooks = []
    if isinstance(fusion, Fusion):
        last: Any = fusion.blocks[-1]
        hook = last.attention.register_forward_hook(
            lambda module, given, _: seen.append((module, *given))
        )
        hooks.append(hook)
    try:
        (residual,) = fusion([query], [values], times, moments)  # [T_q, S, D]
    finally:
        for hook in hooks:
            hook.remove()
    attention = None
    if isinstance(fusion, Fusion):
        weights = [_weights(*one) for one in seen]  # a piece of the frames each
        runs = _runs(fusion, len(residual), len(values), times[0], side.times)
        attention = _by_step(weights, runs, values.shape[:2])
    grid = clip.visual.grid().float()  # [T_q, S, D]
    size = residual.float().norm(dim=-1).mean(1).cpu() / grid.norm(dim=-1).mean(1).cpu()
    name = patch.name
    if len(patch.parts) > 1:
        name = part.key
    return Insight(name, times[0].tolist(), side.times.tolist(), attention, size)


def _query(visual: Visual, kind: str) -> Tensor:
    """What a fusion reads of the visual tokens."""
    if kind == "projected":
        return visual.grid()
    if visual.query is None:
        raise ChannelError("the visual tokens hold no pre-projector tokens")
    return visual.query


def _weights(attention: Any, x: Tensor, seen: Any) -> Tensor:
    """`[F, L]`, the attention of F frames to their L side tokens: mean over heads and tokens."""
    heads = (attention.config.heads, -1)
    query = attention.query(x).unflatten(2, heads).transpose(1, 2)  # [F, heads, S, head_dim]
    key = attention.key(seen.memory).unflatten(2, heads).transpose(1, 2)
    if attention.config.rope is not None:
        query = rope.rotate(query, seen.query_angles)
        key = rope.rotate(key, seen.side_angles)
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5  # [F, heads, S, L]
    if seen.mask is not None:
        scores = scores.masked_fill(~seen.mask, float("-inf"))
    mean: Tensor = scores.softmax(-1).mean((1, 2))
    return mean.cpu()


def _runs(fusion: Fusion, frames: int, steps: int, times: Tensor, moments: Tensor) -> Tensor:
    """`[T_q, 2]`: the first side step that each frame attends, and how many."""
    if fusion.config.alignment == "groups":
        # Fewer steps than frames are stretched to as many.
        return align.by_number(frames, max(steps, frames))
    return align.by_time(times.double().cpu(), moments.double().cpu())


def _by_step(weights: Sequence[Tensor], runs: Tensor, shape: Sequence[int]) -> Tensor:
    """`[T_q, T_k]`: attention to side tokens, put where their steps stand in time.

    Args:
        weights: `[F, L]` of one piece of the frames after the other, padded at the end of rows.
        runs: See `_runs`.
        shape: T_k and S_k, steps and tokens a step.
    """
    steps, cells = shape
    attended = int(runs.sum(1).max())  # steps, after stretching
    found = torch.zeros(len(runs), attended)
    frame = 0
    for piece in weights:
        for row in piece:
            first, count = runs[frame].tolist()
            of_steps = row[: count * cells].unflatten(0, (count, cells)).sum(1)
            found[frame, first : first + count] = of_steps
            frame += 1
    if attended == steps:
        return found
    # Each stretched step belongs to the step that it is nearest to.
    owner = torch.linspace(0, steps - 1, attended).round().long()
    return torch.zeros(len(runs), steps).index_add_(1, owner, found)
