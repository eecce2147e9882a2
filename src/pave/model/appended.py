"""How the *concat* arm meets the visual tokens: its tokens fill the room behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pave.bases.visual import Visual
from pave.errors import ChannelError
from pave.patches.patch import Patch, Side
from pave.texts import counted

if TYPE_CHECKING:
    from pave.patches.parts import Part


def append_tokens(visuals: list[Visual], patch: Patch, part: Part, side: Side) -> bool:
    """Put a patch's side tokens behind the visual tokens of each clip that has the channel.

    Args:
        visuals: One a clip; those that get tokens are replaced.
        patch: The patch.
        part: What belongs to the channel.
        side: One mapping a clip.

    Returns:
        Whether any clip has the channel.

    Raises:
        ChannelError: If the prompt has no room for them.
    """
    place = next(part.fusion.parameters())  # its device and type
    spoke = False
    for number, given in enumerate(side):
        tokens = patch.tokens_in(given).get(part.channel)
        if tokens is None:
            continue
        values = tokens.values.to(place.device, place.dtype)  # [T, S, C]
        (appended,) = part.fusion([], [values])  # [T * S, D]
        visuals[number] = _filled(visuals[number], appended * patch.weight, patch.name)
        spoke = True
    return spoke


def _filled(visual: Visual, appended: Tensor, name: str) -> Visual:
    """The clip with its room filled."""
    if visual.room != len(appended):
        raise ChannelError(
            f"patch '{name}' appends {counted(len(appended), 'token')} to a clip, and the prompt "
            f"has room for {visual.room}; only pave train and pave eval ask this kind of patch"
        )
    # The base's own, its newline included.
    own = visual.tokens[: len(visual.tokens) - visual.room]
    # In the type of the language model, whatever the fusion computes in.
    behind = appended.to(own.device, own.dtype)
    return replace(visual, tokens=torch.cat([own, behind]))
