"""The token store: what a frozen encoder or tower once computed is kept on disk and never computed again."""

from pave.store.digest import Source, content_digest
from pave.store.store import TokenStore

__all__ = ["Source", "TokenStore", "content_digest"]
