"""Extraction: fill a token store from records, once, on as many processes and machines as there are.

Nothing here is needed to train: training computes what the store lacks. Extraction does it
beforehand, survives kills, and tells which clips are broken.

Example:
    >>> from pave.extract import ExtractConfig, extract
    >>> report = extract(ExtractConfig(records="train.jsonl", store="tokens", channel="audio", encoder="mel"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import callable_package, lazy_names

if TYPE_CHECKING:
    from pave.extract.config import ExtractConfig
    from pave.extract.report import ExtractReport, Progress, Skipped
    from pave.extract.run import extract

_HOMES = {
    "ExtractConfig": "pave.extract.config",
    "ExtractReport": "pave.extract.report",
    "Progress": "pave.extract.report",
    "Skipped": "pave.extract.report",
    "extract": "pave.extract.run",
}

__all__ = ["ExtractConfig", "ExtractReport", "Progress", "Skipped", "extract"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

callable_package(__name__, "extract")
