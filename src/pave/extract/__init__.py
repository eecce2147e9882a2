"""Extraction: fill a token cache from records, once, on as many processors as there are.

Nothing here is needed to train: training computes what the cache lacks. Extraction does it
beforehand, survives kills, and tells which clips are broken. There is one way on one machine
(worker processes; `shard` for several calls) and one on many (Ray Data, `pave.extract.cluster`).

Example:
    >>> from pave.extract import ExtractConfig, extract
    >>> config = ExtractConfig(records="train.jsonl", cache="tokens", channel="audio", encoder="mel")
    >>> extract(config).skipped  # doctest: +SKIP
    []
"""

from pave.extract.config import ExtractConfig
from pave.extract.report import ExtractReport, Progress, Skipped
from pave.extract.run import extract

__all__ = ["ExtractConfig", "ExtractReport", "Progress", "Skipped", "extract"]
