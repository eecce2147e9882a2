"""`PatchedModel`: a frozen base with patches on it, and what one call of it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.model.model import PatchedModel
    from pave.model.published import check_probe, make_probe

_HOMES = {
    "PatchedModel": "pave.model.model",
    "check_probe": "pave.model.published",
    "make_probe": "pave.model.published",
}

__all__ = ["PatchedModel", "check_probe", "make_probe"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
