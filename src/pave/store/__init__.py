"""The token store: what a frozen encoder or tower once computed is kept on disk and never computed again."""

from pave.store.digest import Source, content_digest
from pave.store.lease import Leases
from pave.store.store import TokenStore, is_store, kept_dtype
from pave.store.upkeep import gc, list_entries, merge, pack, stats, verify

__all__ = [
    "Leases",
    "Source",
    "TokenStore",
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
