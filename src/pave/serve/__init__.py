"""A server for a base and its patches, with the interface of OpenAI's chat completions.

It needs the extra `serve`; nothing else of pave imports it. `pave serve` starts one from the
command line, and `make_app` gives the application to other servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.serve.app import make_app
    from pave.serve.limits import Limits
    from pave.serve.service import Service

_HOMES = {
    "Limits": "pave.serve.limits",
    "Service": "pave.serve.service",
    "make_app": "pave.serve.app",
}

__all__ = ["Limits", "Service", "make_app"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
