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
    # Buffers too: batch norms of smol's tower keep their statistics in them.
    tensors = dict(base.inner.named_parameters())
    tensors.update(base.inner.named_buffers())
    seeing = []
    for name, tensor in tensors.items():
        if not name.startswith(language) and "lora_" not in name:
            seeing.append((name, tensor))
    return weights_digest(seeing)


def language_digest(base: Base) -> str:
    """A digest of the language model's own weights, whatever LoRA is on them; needs no tower."""
    language = getattr(base.inner, base.family.language_model)
    own = []
    for name, tensor in language.named_parameters():
        if "lora_" not in name:
            # peft wraps a layer it adapts, which must not make another base of this one.
            own.append((name.replace(".base_layer.", "."), tensor))
    return weights_digest(own)
