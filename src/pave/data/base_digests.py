"""Which weights a base has, known without loading its tower where a token cache remembers it."""

from __future__ import annotations

import logging

import torch

from pave.bases.base import Base
from pave.bases.digest import language_digest, tower_digest
from pave.cache import TokenCache
from pave.files import PlaceError

logger = logging.getLogger(__name__)


def digests_of(base: Base, cache: TokenCache) -> list[str]:
    """Digests of a base's language model and tower.

    A run and an evaluation are bound to them: a fine-tuned base has the fingerprint of the base
    that it was made from.
    """
    return [language_digest(base), known_tower_digest(base, cache)]


def known_tower_digest(base: Base, cache: TokenCache) -> str:
    """The tower's digest; for a base loaded without its tower, the one that its files gave before.

    The first time there is nothing to remember: then the tower is loaded, which it has to be anyway
    to fill the cache. A tower in memory is always looked at itself, because it may have been
    changed since it was loaded.
    """
    if base.origin is None or base.tower_loaded:
        return tower_digest(base)
    # Empty where the weight files cannot be told from others; then nothing is remembered.
    identity = base.origin.identity()
    key = cache.key(identity.encode(), {"kind": "tower digest"})
    known = cache.get(key) if identity else None
    if known is not None:
        return bytes(known["digest"].tolist()).decode()
    base.load_tower()
    digest = tower_digest(base)
    if identity:
        # A token cache keeps tensors, so a text is kept as its bytes: [letters].
        letters = torch.tensor(list(digest.encode()), dtype=torch.uint8)
        try:
            cache.put(key, {"digest": letters}, label="digest of a base")
        except PlaceError as error:
            # A cache that holds every token is of use on a read-only or full disk, too.
            logger.warning(
                "%s cannot be written (%s), so every run loads the base's tower to compute its "
                "digest",
                cache.folder,
                error.strerror,
            )
    return digest
