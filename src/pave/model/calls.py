"""One call of a patched model: what the seam adds, which LoRAs work on which rows, and the undoing.

`PatchedModel.forward` and `generate` differ in the method of the base that they call; all that a
call sets up, and takes back afterwards, is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pave.bases import Base, Visual
from pave.errors import ChannelError, PatchError
from pave.model.chosen import Weights, chosen, taken_by, weighted
from pave.model.routes import frames_of_clips, routes_of, rows_of_clips
from pave.model.seam import Call, calling
from pave.patches.patch import Side

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

Times = Sequence[Tensor]
Visuals = Sequence[Visual]


def _encoded(base: Base, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs with the tower's output for pixels, where generate() would encode once a beam."""
    if not base.family.argument or inputs.get(base.family.pixels) is None:
        return inputs
    method = getattr(base.inner, base.family.method)  # the seam
    output = method(**base.tower_arguments(inputs), return_dict=True)
    rest = {key: value for key, value in inputs.items() if key != base.family.pixels}
    return {**rest, "mm_encoder_outputs": {base.family.modality: output}}


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
    base, pixels = model.base, model.base.family.pixels
    if not isinstance(side, Sequence | None):
        raise ChannelError(f"side channels must be a list with one entry per clip, got {side!r}")
    with model.lock, contextlib.ExitStack() as stack:
        patches, taken = model.patches, model.taken
        if weights is not None:
            if model.training:  # checkpointing runs layers again after the call
                raise PatchError(
                    "patches={...} works only for answers; for training, use set_patches"
                )
            patches = chosen(patches, weights)  # views: nothing of the model changes
            taken = taken_by(patches)
            stack.enter_context(weighted(patches, model.patches))
        if visuals is not None:
            if inputs.get(pixels) is not None:
                raise ChannelError(
                    f"pass visuals or {pixels}, not both; Base.batch(..., pixels=False) leaves "
                    "the pixels out"
                )
            container = base.join(model.seam.fuse(visuals, side, times, patches))
            encoded = inputs.get("mm_encoder_outputs") or {}  # single pictures
            encoded = {**encoded, base.family.modality: container}
            inputs = {**inputs, "mm_encoder_outputs": encoded}
        else:
            frames = None
            per_frame = base.family.per_frame
            if side is not None and per_frame:
                frames = frames_of_clips(inputs, per_frame, base.placeholder_id, len(side), times)
            stack.enter_context(calling(Call(side, times, frames, patches)))
            inputs = _encoded(base, inputs)
        if any(patch.lora for patch in patches.values()):
            ids = inputs.get("input_ids")  # [B, L]
            batch = 0 if ids is None else len(ids)
            rows: list[int] | None = [0] * len(side or ())  # a single row holds every clip
            if side is not None and batch != 1:
                rows = rows_of_clips(ids, base.placeholder_id, len(side), visuals)
            routes = routes_of(patches, side, rows, batch, taken, training=model.training)
            # Usually there is nothing to switch. Others can switch layers with peft: ask them.
            layers = model.loras.layers.values()
            as_is = all(
                layer.active_adapters == routes.on and not layer.disable_adapters
                for layer in layers
            )
            if model.training or routes.masks or not as_is:
                # In training also after the call: checkpointing runs layers again.
                stay = model.training
                stack.enter_context(model.loras.only(routes.on, routes.masks, stay=stay))
        yield inputs
