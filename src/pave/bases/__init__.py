"""Bases: frozen pretrained Video LLMs of several families behind one small interface."""

from __future__ import annotations

from pave.bases.base import Base
from pave.bases.families import find_family, list_families, register_family
from pave.bases.load import load_base
from pave.bases.prefix import prefix_positions, shares_prefix
from pave.bases.preprocess import BaseSettings
from pave.bases.prompt import Prompt
from pave.bases.spec import Clip, FamilySpec, PromptStyle
from pave.bases.tower import tower_of
from pave.bases.visual import Layout, Visual

__all__ = [
    "Base",
    "BaseSettings",
    "Clip",
    "FamilySpec",
    "Layout",
    "Prompt",
    "PromptStyle",
    "Visual",
    "find_family",
    "list_families",
    "load_base",
    "prefix_positions",
    "register_family",
    "shares_prefix",
    "tower_of",
]
