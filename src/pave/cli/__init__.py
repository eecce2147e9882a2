"""The command line: one verb a file, no logic.

A verb's module, and with it torch, is imported only when that verb is used.
"""

from __future__ import annotations

from pave.cli.app import main

__all__ = ["main"]
