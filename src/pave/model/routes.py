"""On which rows of a batch each LoRA works.

A patch without its channel is off as a whole. Its fusion has nothing to add, but a trained LoRA
would still move the logits, so the LoRA is switched off too: for the whole call where no clip has
the channel, for single rows of a mixed batch otherwise. A LoRA-only patch has no channel to miss
and is on in every row. A LoRA that another patch continues works where that one does not. While
training, a LoRA that is the whole patch's works on every row, and one of a single channel where it
works in answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pave.bases.visual import Visual
from pave.errors import ChannelError
from pave.patches.patch import Patch, Side


@dataclass(frozen=True)
class Routes:
    """Where the LoRAs of a call work.

    Attributes:
        on: Names of the patches whose LoRA works on at least one row.
        masks: For those that work on some rows only, one flag a row.
    """

    on: list[str] = field(default_factory=list)
    masks: dict[str, list[bool]] = field(default_factory=dict)


def routes_of(
    patches: Mapping[str, Patch],
    side: Side | None,
    row_of_clip: Sequence[int] | None,
    rows: int,
    continued_by: Mapping[str, Sequence[str]],
    *,
    training: bool = False,
) -> Routes:
    """Decide for every patch that is on and has a LoRA.

    Args:
        patches: Patches on the base.
        side: One mapping a clip, or None.
        row_of_clip: Row of the batch that holds each clip; None where it cannot be told.
        rows: Rows of the batch.
        continued_by: Patch -> patches whose LoRA takes the place of its own, see
            `pave.patches.base_patches`.
        training: Whether the model trains.

    Raises:
        ChannelError: If some clips have a channel, some do not, and their rows cannot be told
            apart.
    """
    routes = Routes()
    for name, patch in patches.items():
        if patch.weight == 0 or patch.lora is None:
            continue
        if not patch.parts:
            routes.on.append(name)
            continue
        for lora, channel in patch.lora.names.items():
            if training and not channel:
                routes.on.append(lora)
                continue
            has: list[bool] = []  # a flag a clip
            for clip in side or ():
                tokens = patch.tokens_in(clip)
                if channel:
                    has.append(channel in tokens)
                else:  # a LoRA that channels share needs one of them
                    has.append(bool(tokens))
            _route(routes, lora, has, row_of_clip, rows)
    for name, others in continued_by.items():
        _make_way(routes, name, others)
    return routes


def _route(
    routes: Routes, name: str, has: Sequence[bool], row_of_clip: Sequence[int] | None, rows: int
) -> None:
    """Decide for one LoRA, from the clips that have its channel."""
    if not any(has):  # off as a whole
        return
    routes.on.append(name)
    # Without rows there is one answer for all of them only.
    if row_of_clip is None:
        if not all(has):
            raise ChannelError(
                f"some clips lack a channel of patch '{name.partition('/')[0]}' and rows hold "
                "several clips; pass visuals=base.visual(clips)"
            )
        return
    # A row with several clips is the patch's if one of them has the channel.
    flags = [False] * rows
    for row, clip_has in zip(row_of_clip, has, strict=True):
        flags[row] = flags[row] or clip_has
    if not all(flags):
        routes.masks[name] = flags


def _make_way(routes: Routes, name: str, others: Sequence[str]) -> None:
    """Take one LoRA off the rows on which those that continue it work."""
    # Those that continue it and work on a row of this call.
    working = [other for other in others if other in routes.on]
    if name not in routes.on or not working:
        return
    masks = routes.masks
    if any(other not in masks for other in working):  # one of them works on every row
        left = []
    else:
        rows = len(masks[working[0]])
        left = list(masks.get(name, [True] * rows))
        for other in working:
            for row in range(rows):
                left[row] = left[row] and not masks[other][row]
    if any(left):
        masks[name] = left
    else:
        routes.on.remove(name)
        masks.pop(name, None)


def rows_of_clips(
    ids: Tensor | None, placeholder: int, clips: int, visuals: Sequence[Visual] | None
) -> list[int] | None:
    """The row that holds each clip.

    One clip a row is told from the rows; several by counting placeholders, where the clips' sizes
    are known.

    Args:
        ids: `[B, L]` prompt ids.
        placeholder: Id that stands for one visual token.
        clips: How many clips the call has.
        visuals: The clips' visual tokens where they are known.

    Returns:
        One row a clip, or None where it cannot be told.
    """
    if ids is None:
        return None
    counts = (ids == placeholder).sum(1).tolist()  # placeholders of each row
    filled = [row for row, count in enumerate(counts) if count > 0]
    if len(filled) == clips:
        return filled
    if not filled and clips == len(counts):  # a later turn: the clips are in the cache already
        return list(range(clips))
    if visuals is None:
        return None
    rows = []
    row, left = -1, 0  # placeholders that are left in the row
    for visual in visuals:
        while left <= 0 and row + 1 < len(counts):
            row += 1
            left = int(counts[row])
        rows.append(row)
        left -= visual.layout.total
    # Every placeholder belongs to a clip, and every clip has all of its placeholders.
    fits = left == 0 and not any(counts[row + 1 :])
    return rows if fits else None


def frames_of_clips(
    inputs: Mapping[str, Any],
    per_frame: str,
    placeholder: int,
    clips: int,
    times: Sequence[Tensor] | None,
) -> list[int] | None:
    """Frames of each clip, for families that see a video as a run of images in one list.

    The times of a clip tell (one a frame); without them each row's share of placeholders does. None
    where neither can.

    Args:
        inputs: The call's model inputs.
        per_frame: Name of the input that has one entry a frame.
        placeholder: Id that stands for one visual token.
        clips: How many clips the call has.
        times: `[T]` seconds a clip.
    """
    if times is not None:
        return [len(t) for t in times]
    ids, frames = inputs.get("input_ids"), inputs.get(per_frame)
    if ids is None or frames is None:
        return None
    counts = [count for count in (ids == placeholder).sum(1).tolist() if count > 0]
    if len(counts) != clips:
        return None
    # Where all frames have equally many placeholders; the shares are not whole elsewhere.
    total = sum(counts)
    shares = []
    for count in counts:
        share, rest = divmod(len(frames) * count, total)
        if rest:
            return None
        shares.append(share)
    return shares
