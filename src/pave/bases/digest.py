"""What tells two bases of one architecture apart: digests of their weights, in two parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pave import hf_compat
from pave.bases.base import Base
from pave.channels.weights import weights_digest

SAMPLES = 256
"""Values of each tensor that `known_by` looks at."""

SMALL = 2.0**-14
"""Numbers below are 0 for `known_by`: float16 holds them inexactly."""

_noted: WeakKeyDictionary[Base, tuple[str, str | None]] = WeakKeyDictionary()


def note_language(base: Base) -> None:
    """Remember the digests of a language model that is about to be cut into shares."""
    _noted[base] = (language_digest(base), known_by(base).get("language"))


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
    if base in _noted:
        return _noted[base][0]
    language = getattr(base.inner, base.family.language_model)
    own = []
    saved = language.state_dict().keys()
    # What is saved of buffers: quantised layers keep their numbers so, plain ones have none.
    buffers = {name: tensor for name, tensor in language.named_buffers() if name in saved}
    for name, tensor in {**dict(language.named_parameters()), **buffers}.items():
        if "lora_" not in name:
            # peft wraps a layer it adapts, which must not make another base of this one.
            own.append((name.replace(".base_layer.", "."), tensor))
    return weights_digest(own)


def known_by(base: Base) -> dict[str, str]:
    """Digests by which a base is recognised, in whatever floating-point type it is loaded.

    A patch keeps them: a fine-tuned base has the shapes of the one that it was made from. Empty for
    what cannot be told: weights that are on disk still, or quantised.

    Returns:
        "language" and "tower" -> a digest of evenly spread values, rounded to bfloat16.
    """
    language = f"{base.family.language_model}."
    parts: dict[str, list[tuple[str, Tensor]]] = {"language": [], "tower": []}
    for name, tensor in base.inner.named_parameters():
        if "lora_" not in name:
            part = "tower"
            if name.startswith(language):
                part = "language"
            # peft wraps a layer that it adapts.
            parts[part].append((name.replace(".base_layer.", "."), tensor))
    if not base.tower_loaded:
        parts.pop("tower")
    module = getattr(base.inner, base.family.language_model)
    buffers = dict(module.named_buffers())
    if buffers.keys() & module.state_dict().keys():  # its files hold them: a quantised model
        parts.pop("language", None)
    found = {}
    if base in _noted:
        parts.pop("language")
        if digest := _noted[base][1]:
            found["language"] = digest
    for part, tensors in parts.items():
        if _are_readable(tensors):
            found[part] = _rounded_digest(tensors)
    return found


def _are_readable(tensors: Iterable[tuple[str, Tensor]]) -> bool:
    for _, tensor in tensors:
        # Packed integers, no numbers at all, or a tensor of torchao.
        if not tensor.is_floating_point() or tensor.is_meta or not hf_compat.is_plain(tensor):
            return False
    return True


def _rounded_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // SAMPLES)
        sample = flat[::step].to("cpu", torch.bfloat16).float()
        sample[sample.abs() < SMALL] = 0.0
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()
