"""What a patch does on one clip, in numbers: where its fusion looks, and how much it adds.

attention   [T_q, T_k]   how much each frame attends each side step; rows sum to 1
residual    [T_q]        length of what the patch adds, as a part of the tokens' own length
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pave.bases.visual import Visual
from pave.data import ClipFeatures
from pave.errors import ChannelError
from pave.fusion import Fusion, attend
from pave.patches.patch import Patch


@dataclass(frozen=True)
class Insight:
    """What one patch does on one clip.

    Attributes:
        patch: Its name.
        times: `[T_q]` seconds of the frames.
        side_times: `[T_k]` seconds of the side steps.
        side_lengths: `[T_k]`, the mean length of each step's tokens.
        attention: `[T_q, T_k]`, mean over heads and tokens of a frame in the fusion's last block;
            None for fusions that do not attend.
        residual: `[T_q]`, mean over a frame's tokens of the residual's length, divided by that of
            the tokens.
    """

    patch: str
    times: list[float]
    side_times: list[float]
    side_lengths: list[float]
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
        raise ChannelError(
            f"patch '{patch.name}' adds nothing to this clip, because the clip lacks its channel"
        )
    part, side = patch.parts[channel], heard[channel]
    fusion = part.fusion
    place = next(fusion.parameters())
    query = _query(clip.visual, part.spec.fusion.query).to(place)  # [T_q, S, C_q]
    values = side.values.to(place)  # [T_k, S_k, C]
    moments = (clip.clip.times, side.times)
    attention = None
    if isinstance(fusion, Fusion):
        residual, attention = attend(fusion, query, values, *moments)
    else:
        (residual,) = fusion([query], [values], *([one] for one in moments))  # [T_q, S, D]
    grid = clip.visual.grid().float()  # [T_q, S, D]
    size = residual.float().norm(dim=-1).mean(1).cpu() / grid.norm(dim=-1).mean(1).cpu()
    name = patch.name
    if len(patch.parts) > 1:
        name = part.key
    lengths = side.values.float().norm(dim=-1).mean(1)
    return Insight(
        patch=name,
        times=clip.clip.times.tolist(),
        side_times=side.times.tolist(),
        side_lengths=lengths.tolist(),
        attention=attention,
        residual=size,
    )


def _query(visual: Visual, kind: str) -> Tensor:
    """What a fusion reads of the visual tokens."""
    if kind == "projected":
        return visual.grid()
    if visual.query is None:
        raise ChannelError("the visual tokens hold no pre-projector tokens")
    return visual.query
