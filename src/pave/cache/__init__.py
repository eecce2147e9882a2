"""The token cache: what a frozen encoder or tower computed once is kept on disk for good.

Example:
    >>> cache = TokenCache("tokens")  # doctest: +SKIP
    >>> cache.get(cache.key("concert.mp4", {"encoder": "mel"})) is None  # doctest: +SKIP
    True
"""

from pave.cache.digest import Source, content_digest
from pave.cache.token_cache import TokenCache, is_cache, kept_dtype
from pave.cache.upkeep import gc, list_entries, merge, stats, unpack, verify

__all__ = [
    "Source",
    "TokenCache",
    "content_digest",
    "gc",
    "is_cache",
    "kept_dtype",
    "list_entries",
    "merge",
    "stats",
    "unpack",
    "verify",
]
