"""What a base's model may be: the bare model of Hugging Face, whole and with nothing on it.

A patch changes methods of the model's inner parts and layers of its language model. Whatever stands
around them (compilers, wrappers of data-parallel training, peft) or under them (other adapters,
weights that lie on a disk between two calls) would be passed by or switched off without a word.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pave import hf_compat
from pave.bases.base import Base
from pave.bases.family import Family
from pave.errors import BaseError

_WRAPPERS = {
    "OptimizedModule": (
        "is compiled; pass the model as it was before torch.compile, and compile the "
        "PatchedModel instead"
    ),
    "DistributedDataParallel": "is wrapped in DistributedDataParallel; pass its .module",
    "DataParallel": "is wrapped in DataParallel; pass its .module",
    "FullyShardedDataParallel": "is sharded; pass the model as it was before FSDP",
    "FSDPModule": "is sharded; pass the model as it was before fully_shard",
}
"""Class -> what is wrong with a module of it, and what to do."""


def as_base(given: object) -> Base:
    """What a caller gives as a base, if it is one.

    Raises:
        BaseError: If it is something else.
    """
    if not isinstance(given, Base):
        raise BaseError(
            f"a base is what pave.load_base gives, got {type(given).__name__}; load it first"
        )
    return given


def check_inner(model: Any, family: Family) -> None:
    """Make sure that a loaded model is the one that owns the tower, and not something around it.

    Whatever has a `model` and a `config` looks like it. The seam would then lie where no call
    passes, and the patch would do nothing.

    Args:
        model: The loaded model.
        family: Of its config.

    Raises:
        BaseError: If its `model` has no language model, or no method that makes visual tokens.
    """
    inner = model.model
    # Whatever it is: somebody's own object may call anything `model`.
    parts: dict[str, nn.Module] = {}
    if isinstance(inner, nn.Module):
        parts.update(inner.named_children())
    if family.language_model not in parts or not hasattr(type(inner), family.method):
        raise BaseError(
            f"a {type(model).__name__} is not a model of transformers as patches need it: its "
            f".model has no {family.language_model} and {family.method}; pass the "
            "...ForConditionalGeneration itself, not an object around it"
        )


def check_plain(model: Any, *, cut: bool = False) -> None:
    """Make sure that patches would work on a model, and leave its own adapters alone.

    Args:
        model: The base's model.
        cut: Whether pave has cut it into shares itself, one a process.

    Raises:
        BaseError: If it or a part of it is wrapped, compiled or offloaded, or carries an adapter
            of peft.
    """
    for path, module in model.named_modules():
        where = f"the base's {path}" if path else "the base"
        for kind in type(module).__mro__:
            if cut and kind.__name__ == "FSDPModule":
                continue
            if kind.__name__ in _WRAPPERS:
                raise BaseError(f"{where} {_WRAPPERS[kind.__name__]}")
        if hf_compat.is_offloaded(module):
            raise BaseError(
                f"{where} is offloaded: its weights are elsewhere between calls, where patches "
                "cannot reach them; load it on GPUs that hold all of it (a device_map without "
                "cpu or disk), or quantise it"
            )
    adapters = hf_compat.adapters_on(model)
    if hf_compat.is_peft_model(model) or adapters:
        names = ", ".join(sorted(set(adapters.values()))) or "peft"
        raise BaseError(
            f"the base carries an adapter ({names}), which a patch would switch off; merge it "
            "first (model = peft_model.merge_and_unload()), or remove it (delete_adapter)"
        )
