"""Room behind a clip's visual tokens, which the *concat* arm fills with side tokens.

The prompt gets a placeholder more for each of them, so such a patch costs tokens, where every other
patch costs none. It is a comparison: `pave train` and `pave eval` make room, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from pave.bases.base import Base
from pave.bases.visual import Clip, Visual
from pave.tokens import Tokens


def why_no_room(base: Base) -> str | None:
    """Why nothing can be appended to this base's visual tokens; None where it can."""
    family = base.family
    if family.takes_more:
        return None
    if family.mrope:
        return f"{base.name} places visual tokens on the grid of their clip"
    if family.per_frame:
        return f"{base.name} takes a clip as single images"
    return f"{base.name} takes the visual tokens of its own tower and no others"


def room_for(tokens: Iterable[Tokens | None]) -> int:
    """Places that some side tokens take; None takes none.

    Example:
        >>> room_for([Tokens(torch.zeros(5, 2, 8), torch.arange(5.0))])
        10
    """
    places = 0
    for channel in tokens:
        if channel is None:
            continue
        steps, each = channel.values.shape[:2]  # [T, S, C], each in a place of its own
        places += steps * each
    return places


def clip_with_room(base: Base, clip: Clip, room: int) -> Clip:
    """The clip with `room` more placeholders behind its own."""
    placeholder = base.family.placeholder
    before, last, after = clip.text.rpartition(placeholder)
    return replace(clip, text=before + last + room * placeholder + after)


def visual_with_room(visual: Visual, room: int) -> Visual:
    """The visual tokens with `room` zeros behind them."""
    empty = visual.tokens.new_zeros(room, visual.tokens.shape[-1])  # [room, D]
    layout = replace(visual.layout, trail=visual.layout.trail + room)
    return replace(visual, tokens=torch.cat([visual.tokens, empty]), layout=layout, room=room)
