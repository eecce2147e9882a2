"""What tells two bases of one architecture apart: digests of their weights, in two parts."""

from __future__ import annotations

from pave.bases.base import Base
from pave.channels.weights import weights_digest


def tower_digest(base: Base) -> str:
    """A digest of the weights that make visual tokens.

    The language model is left out, so that LoRA changes nothing.
    """
    base.load_tower()
    language = f"{base.family.language_model}."
    tensors = {**dict(base.inner.named_parameters()), **dict(base.inner.named_buffers())}
    return weights_digest(
        (k, t) for k, t in tensors.items() if not k.startswith(language) and "lora_" not in k
    )


def language_digest(base: Base) -> str:
    """A digest of the language model's own weights, whatever LoRA is on them; needs no tower."""
    language = getattr(base.inner, base.family.language_model)
    return weights_digest(
        (k.replace(".base_layer.", "."), t)
        for k, t in language.named_parameters()
        if "lora_" not in k
    )
