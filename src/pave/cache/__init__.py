"""The token store: what a frozen encoder or tower once computed is kept on disk and never computed again."""

from pave.cache.digest import Source, content_digest
from pave.cache.lease import Leases
from pave.cache.store import TokenCache, is_store, kept_dtype
from pave.cache.upkeep import gc, list_entries, merge, pack, stats, verify

__all__ = [
    "Leases",
    "Source",
    "TokenCache",
    "content_digest",
    "gc",
    "is_store",
    "kept_dtype",
    "list_entries",
    "merge",
    "pack",
    "stats",
    "verify",
]
