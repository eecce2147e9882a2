"""Extraction: fill a token cache from records, once, on as many processors as there are.

Nothing here is needed to train: training computes what the cache lacks. Extraction does it
beforehand, survives kills, and tells which clips are broken. There is one way on one machine
(worker processes; `shard` for several calls) and one on many (Ray Data, `pave.extract.cluster`).

Example:
    >>> from pave.extract import ExtractConfig, extract
    >>> sound = {"channel": "audio", "encoder": "mel"}
    >>> config = ExtractConfig(records="train.jsonl", cache="tokens", **sound)
    >>> extract(config).skipped  # doctest: +SKIP
    []
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
