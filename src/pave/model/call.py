"""What one call means for each patch: which clips have its channel, and so on which rows of the batch it works.

A patch without its channel is off as a whole. Its fusion has nothing to add, but a trained LoRA
would still move the logits, so the LoRA is switched off too: for the whole call where no clip has
the channel, for single rows of a mixed batch otherwise. A LoRA-only patch has no channel to miss
and is on in every row. A LoRA that another patch continues works where that one does not. While
training, every LoRA stays on (see `PatchedModel`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pave.bases.visual import Visual
from pave.errors import ChannelError
from pave.model.seam import Side, hears
from pave.patches.stack import replaced

if TYPE_CHECKING:
    from pave.model.model import PatchedModel


@dataclass(frozen=True)
class Route:
    """Where the LoRAs of a call work.

    Attributes:
        on: Names of the patches that work on at least one row.
        masks: For patches that work on some rows only, one flag a row.
    """

    on: list[str]
    masks: dict[str, list[bool]]


def route(
    channels: Mapping[str, str | None],
    side: Side | None,
    row_of_clip: Sequence[int] | None,
    rows: int,
    replaced: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Route:
    """Decide for every active patch.

    Args:
        channels: Patch name -> its channel, None for a LoRA-only patch.
        side: One mapping a clip, or None.
        row_of_clip: Row of the batch that holds each clip; None where it cannot be told.
        rows: Rows of the batch.
        replaced: Patch -> active patches whose LoRA takes the place of its own, see
            `pave.patches.stack`.

    Raises:
        ChannelError: If some clips have a channel, some do not, and their rows cannot be told
            apart.
    """
    on, masks = [], {}
    for name, channel in channels.items():
        heard = [True] if channel is None else hears(side or (), name, channel)
        if not any(heard):
            continue
        on.append(name)
        if channel is None or (
            all(heard) and row_of_clip is not None and len(set(row_of_clip)) == rows
        ):
            continue
        if row_of_clip is None:
            if all(heard):
                continue
            raise ChannelError(
                f"some clips lack the {channel} channel and rows hold several clips; pass "
                "visuals=base.visual(clips)"
            )
        flags = [False] * rows
        for row, has in zip(row_of_clip, heard, strict=True):
            flags[row] = flags[row] or has
        if not all(flags):
            masks[name] = flags
    return _step_aside(Route(on, masks), replaced)


def _step_aside(plan: Route, replaced: Mapping[str, Sequence[str]]) -> Route:
    """Take every replaced LoRA off the rows on which one of its successors works."""
    on, masks = list(plan.on), dict(plan.masks)
    for name, successors in replaced.items():
        works = [other for other in successors if other in plan.on]
        if name not in plan.on or not works:
            continue
        if all(other in plan.masks for other in works):
            taken = [
                any(flags) for flags in zip(*(plan.masks[other] for other in works), strict=True)
            ]
            own = plan.masks.get(name, [True] * len(taken))
            masks[name] = [mine and not his for mine, his in zip(own, taken, strict=True)]
        if (
            name not in masks
            or not any(masks[name])
            or any(other not in plan.masks for other in works)
        ):
            on.remove(name)
            masks.pop(name, None)
    return Route(on, masks)


def rows_of_clips(
    ids: Tensor | None, placeholder: int, clips: int, visuals: Sequence[Visual] | None
) -> list[int] | None:
    """The row that holds each clip: one clip a row, or by counting placeholders where the clips' sizes are known.

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
    counts = (ids == placeholder).sum(1).tolist()
    if sum(count > 0 for count in counts) == clips:
        return [row for row, count in enumerate(counts) if count > 0]
    if not any(counts) and clips == len(counts):  # a later turn: the clips are in the cache already
        return list(range(clips))
    if visuals is None:
        return None
    rows, row, left = [], -1, 0
    for visual in visuals:
        while left <= 0 and row + 1 < len(counts):
            row += 1
            left = int(counts[row])
        rows.append(row)
        left -= visual.layout.total
    return rows if left == 0 and not any(counts[row + 1 :]) else None


def frames_of_clips(
    inputs: Mapping[str, Any],
    pixels: str,
    placeholder: int,
    clips: int,
    times: Sequence[Tensor] | None,
) -> list[int] | None:
    """Frames of each clip, for families that see a video as a run of images in one list.

    The times of a clip tell (one a frame); without them each row's share of placeholders does. None
    where neither can.

    Args:
        inputs: The call's model inputs.
        pixels: Name of the pixel argument, `[N, ...]` with one entry a frame.
        placeholder: Id that stands for one visual token.
        clips: How many clips the call has.
        times: `[T]` seconds a clip.
    """
    if times is not None:
        return [len(t) for t in times]
    ids, frames = inputs.get("input_ids"), inputs.get(pixels)
    if ids is None or frames is None:
        return None
    counts = [int(n) for n in (ids == placeholder).sum(1).tolist() if n > 0]
    if len(counts) != clips:
        return None
    return [frames.shape[0] * count // sum(counts) for count in counts]


@contextlib.contextmanager
def prepared(
    model: PatchedModel,
    side: Side | None,
    times: Sequence[Tensor] | None,
    visuals: Sequence[Visual] | None,
    inputs: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Set up one call of the base, hand out its inputs, and undo everything afterwards, also on error.

    With pixels the seam adds the residuals inside the call; with visual tokens they are added here
    and handed over as `mm_encoder_outputs`.

    Args:
        model: The patched model.
        side: One mapping a clip, or None.
        times: `[T]` seconds a clip, or None.
        visuals: Visual tokens a clip instead of pixels, or None.
        inputs: The base's own inputs.

    Raises:
        ChannelError: If both pixels and visual tokens are given, or clips and side channels do not
            fit each other.
    """
    base, seam = model.base, model.seam
    if visuals is not None:
        if inputs.get(base.family.pixels) is not None:
            raise ChannelError(
                f"give visuals or {base.family.pixels}, not both; drop the pixels with Base.light"
            )
        if side is not None and len(side) != len(visuals):
            raise ChannelError(
                f"{len(visuals)} clips but {len(side)} side channel entries given; give one a "
                "clip, in prompt order"
            )
    with contextlib.ExitStack() as stack:
        if not model.training:
            _switch(stack, model, side, visuals, inputs)
        if visuals is not None:
            container = base.join(seam.fuse(visuals, side, times))
            inputs = {**inputs, "mm_encoder_outputs": {base.family.modality: container}}
        elif side is not None:
            stack.callback(seam.clear)
            seam.side, seam.times = side, times
            if base.family.modality == "image":
                seam.frames = frames_of_clips(
                    inputs, base.family.pixels, base.placeholder_id, len(side), times
                )
        yield inputs


def _switch(
    stack: contextlib.ExitStack,
    model: PatchedModel,
    side: Side | None,
    visuals: Sequence[Visual] | None,
    inputs: Mapping[str, Any],
) -> None:
    """Switch LoRAs off where their patch has nothing to work on, until the stack closes."""
    active = {
        name: model.configs[name].channel
        for name, weight in model.weights.items()
        if weight != 0 and name in model.loras
    }
    if not active:
        return
    ids = inputs.get("input_ids")
    rows = 0 if ids is None else int(ids.shape[0])
    where = (
        rows_of_clips(ids, model.base.placeholder_id, len(side), visuals)
        if side is not None
        else None
    )
    plan = route(active, side, where, rows, replaced(model.configs, model.weights))
    stack.enter_context(model.loras.only(plan.on))
    stack.enter_context(model.loras.rows(plan.masks))
