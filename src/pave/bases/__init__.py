"""Bases: frozen pretrained Video LLMs of several families behind one small interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.bases.base import Base
    from pave.bases.families import find_family, list_families, register_family
    from pave.bases.family import Clip, Family, PromptStyle
    from pave.bases.inputs import InputSpec
    from pave.bases.load import load_base
    from pave.bases.prefix import prefix_positions, why_no_shared_prefix
    from pave.bases.preprocess import BaseSettings
    from pave.bases.prompt import Prompt
    from pave.bases.tower import tower_of
    from pave.bases.visual import Layout, Visual

_HOMES = {
    "Base": "pave.bases.base",
    "BaseSettings": "pave.bases.preprocess",
    "Clip": "pave.bases.family",
    "Family": "pave.bases.family",
    "InputSpec": "pave.bases.inputs",
    "Layout": "pave.bases.visual",
    "Prompt": "pave.bases.prompt",
    "PromptStyle": "pave.bases.family",
    "Visual": "pave.bases.visual",
    "find_family": "pave.bases.families",
    "list_families": "pave.bases.families",
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
    "list_families",
    "load_base",
    "prefix_positions",
    "register_family",
    "why_no_shared_prefix",
    "tower_of",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
