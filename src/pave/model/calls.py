"""One call of a patched model: what the seam adds, which LoRAs work on which rows, and the undoing.

`PatchedModel.forward` and `generate` differ in the method of the base that they call; all that a
call sets up, and takes back afterwards, is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pave.arguments import as_kind
from pave.bases import Base, Visual
from pave.errors import ChannelError, PatchError
from pave.model.chosen import Weights, chosen, taken_by, weighted
from pave.model.routes import Routes, frames_of_clips, routes_of, rows_of_clips
from pave.model.seam import Call, calling
from pave.patches.patch import Patch, Side

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

Times = Sequence[Tensor]
Visuals = Sequence[Visual]


def _each(given: object, kind: type[object], what: str) -> None:
    """Refuse what is no list of such things; None is nothing."""
    if given is None:
        return
    if not isinstance(given, Sequence):
        raise ChannelError(f"{what}, got {type(given).__name__}")
    for one in given:
        as_kind(one, kind, what, ChannelError)


@contextlib.contextmanager
def called(
    model: PatchedModel,
    side: Side | None,
    times: Times | None,
    visuals: Visuals | None,
    *,
    weights: Weights | None,
    inputs: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Set up one call of the base, hand out its inputs, and undo everything afterwards.

    With pixels the seam adds the residuals inside the call; with visual tokens they are added here
    and handed over as `mm_encoder_outputs`. See `PatchedModel.forward` for the arguments.

    Raises:
        ChannelError: If clips and side channels do not fit each other.
        PatchError: If `weights` names a patch that is not there, a weight is no finite number, or
            the model is training.
    """
    base = model.base
    if not isinstance(side, Sequence | None):
        raise ChannelError(f"side channels must be a list with one entry per clip, got {side!r}")
    # Where a stacked tensor of times is meant, it has a row a clip.
    if not isinstance(times, Tensor):
        _each(times, Tensor, "times are a list with a tensor [T] for each clip")
    _each(visuals, Visual, "visuals are a list of what base.visual makes of each clip")
    with model.lock, contextlib.ExitStack() as undone:
        # Which patches work.
        patches, taken = model.patches, model.taken
        if weights is not None:
            patches = undone.enter_context(_chosen_patches(model, weights))
            taken = taken_by(patches)
        # What they add to the visual tokens.
        if visuals is not None:
            _must_lack_pixels(base, inputs)
            fused = model.seam.fuse(visuals, side, times, patches)
            inputs = _with_visuals(base, inputs, fused)
        else:
            frames = _frames_of(base, inputs, side, times)
            undone.enter_context(calling(Call(side, times, frames, patches)))
            inputs = _encoded(base, inputs)
        # On which rows their LoRAs work.
        if any(patch.lora for patch in patches.values()):
            rows, batch = _rows_of(base, inputs, side, visuals)
            routes = routes_of(patches, side, rows, batch, taken, training=model.training)
            if _must_switch(model, routes):
                # In training also after the call: checkpointing runs layers again.
                stay = model.training
                undone.enter_context(model.loras.only(routes.on, routes.masks, stay=stay))
        yield inputs


@contextlib.contextmanager
def _chosen_patches(model: PatchedModel, weights: Weights) -> Iterator[dict[str, Patch]]:
    """The patches at the weights of one call; the layers have these weights meanwhile."""
    if model.training:  # checkpointing runs layers again after the call
        raise PatchError("patches={...} works only for answers; for training, use set_patches")
    patches = chosen(model.patches, weights)  # views: nothing of the model changes
    with weighted(patches, model.patches):
        yield patches


def _must_lack_pixels(base: Base, inputs: Mapping[str, Any]) -> None:
    """Refuse pixels beside visual tokens: the clip would be there twice."""
    pixels = base.family.pixels
    if inputs.get(pixels) is not None:
        raise ChannelError(
            f"pass visuals or {pixels}, not both; Base.batch(..., pixels=False) leaves "
            "the pixels out"
        )


def _with_visuals(base: Base, inputs: dict[str, Any], visuals: Visuals) -> dict[str, Any]:
    """Inputs with visual tokens in the place where the base looks for its tower's output."""
    encoded = inputs.get("mm_encoder_outputs") or {}  # single pictures
    encoded = {**encoded, base.family.modality: base.join(visuals)}
    return {**inputs, "mm_encoder_outputs": encoded}


def _encoded(base: Base, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs with the tower's output for pixels, where generate() would encode once a beam."""
    if not base.family.argument or inputs.get(base.family.pixels) is None:
        return inputs
    method = getattr(base.inner, base.family.method)  # the seam
    output = method(**base.tower_arguments(inputs), return_dict=True)
    # The tower's output takes the place of the pixels.
    rest = {key: value for key, value in inputs.items() if key != base.family.pixels}
    return {**rest, "mm_encoder_outputs": {base.family.modality: output}}


def _frames_of(
    base: Base, inputs: Mapping[str, Any], side: Side | None, times: Times | None
) -> list[int] | None:
    """Frames of each clip, where the family sees a video as a run of images; None elsewhere."""
    per_frame = base.family.per_frame
    if side is None or not per_frame:
        return None
    return frames_of_clips(inputs, per_frame, base.placeholder_id, len(side), times)


def _rows_of(
    base: Base, inputs: Mapping[str, Any], side: Side | None, visuals: Visuals | None
) -> tuple[list[int] | None, int]:
    """The row that holds each clip, None where it cannot be told; and how many rows there are."""
    ids = inputs.get("input_ids")  # [B, L]
    batch = 0 if ids is None else len(ids)
    if side is None or batch == 1:
        return [0] * len(side or ()), batch  # a single row holds every clip
    return rows_of_clips(ids, base.placeholder_id, len(side), visuals), batch


def _must_switch(model: PatchedModel, routes: Routes) -> bool:
    """Whether layers are not yet as a call wants them; usually there is nothing to switch."""
    if model.training or routes.masks:
        return True
    # Others can switch layers with peft: ask them.
    for layer in model.loras.layers.values():
        if layer.active_adapters != routes.on or layer.disable_adapters:
            return True
    return False
