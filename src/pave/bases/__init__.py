"""Bases: frozen pretrained Video LLMs of several families behind one small interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.bases.base import Base
    from pave.bases.families import find_family, register_family
    from pave.bases.family import Family
    from pave.bases.inputs import InputSpec
    from pave.bases.load import load_base
    from pave.bases.prefix import prefix_positions, why_no_shared_prefix
    from pave.bases.prompt import Prompt, PromptStyle
    from pave.bases.settings import BaseSettings
    from pave.bases.tower import tower_of
    from pave.bases.visual import Clip, Layout, Visual

_HOMES = {
    "Base": "pave.bases.base",
    "BaseSettings": "pave.bases.settings",
    "Clip": "pave.bases.visual",
    "Family": "pave.bases.family",
    "InputSpec": "pave.bases.inputs",
    "Layout": "pave.bases.visual",
    "Prompt": "pave.bases.prompt",
    "PromptStyle": "pave.bases.prompt",
    "Visual": "pave.bases.visual",
    "find_family": "pave.bases.families",
    "load_base": "pave.bases.load",
    "prefix_positions": "pave.bases.prefix",
    "register_family": "pave.bases.families",
    "why_no_shared_prefix": "pave.bases.prefix",
    "tower_of": "pave.bases.tower",
}

__all__ = [
    "Base",
    "BaseSettings",
    "Clip",
    "Family",
    "InputSpec",
    "Layout",
    "Prompt",
    "PromptStyle",
    "Visual",
    "find_family",
    "load_base",
    "prefix_positions",
    "register_family",
    "why_no_shared_prefix",
    "tower_of",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
