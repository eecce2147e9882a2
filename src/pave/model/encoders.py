"""The encoders of the patches on a model: made once each, when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pave.bases import tower_of
from pave.channels import Encoder, make_encoder
from pave.channels.weights import check_places
from pave.errors import PatchError
from pave.patches.names import known_name

if TYPE_CHECKING:
    from pave.model.model import PatchedModel


def encoder_of(model: PatchedModel, name: str, channel: str | None) -> Encoder | None:
    """The encoder of one channel of a patch, see `PatchedModel.encoder`.

    Raises:
        PatchError: If the patch does not have the channel, or has several and none is named.
    """
    parts = model.patches[known_name(name, model.patches)].parts
    if channel is None:
        if len(parts) > 1:
            raise PatchError(
                f"patch '{name}' has the channels {', '.join(parts)}; name the channel whose "
                "encoder you want"
            )
        # A LoRA-only patch has none.
        channel = next(iter(parts), None)
    if channel is None:
        return None
    if not isinstance(channel, str) or channel not in parts:
        raise PatchError(
            f"patch '{name}' has no channel '{channel}'; available: {', '.join(parts) or 'none'}"
        )
    part = parts[channel]
    # One that the patch was made with is kept in the part, whatever it is.
    spec = part.spec.encoder
    if spec is None:
        return part.encoder
    with model.lock:  # weights of an encoder are read once, not once a thread
        if part.encoder is None:
            check_places(spec.settings, name)  # what a folder from elsewhere leads to
            tower = tower_of(model.base)
            part.encoder = make_encoder(channel, spec.name, spec.settings, tower=tower)
    return part.encoder


def encoders_of(model: PatchedModel, name: str) -> dict[str, Encoder]:
    """The encoders of a patch by `Part.key`, for `pave.data.Features`.

    A channel whose tokens come ready-made has none.
    """
    found = {}
    for channel, part in model.patches[known_name(name, model.patches)].parts.items():
        encoder = encoder_of(model, name, channel)
        if encoder is not None:
            found[part.key] = encoder
    return found


def appended_of(model: PatchedModel, names: Iterable[str]) -> list[str]:
    """Names of the tokens that patches append to the prompt, for `pave.data.Features`."""
    found: list[str] = []
    for name in names:
        parts = model.patches[name].parts.values()
        found += [part.key for part in parts if part.spec.fusion.appends]
    return found
