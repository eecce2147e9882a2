"""Scenes as files: clips with what their channels read, and a folder of them with its records."""

from __future__ import annotations
