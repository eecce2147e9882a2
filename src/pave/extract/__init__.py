"""Extraction: fill a token store from records, once, on as many processes and machines as there are.

Nothing here is needed to train: training computes what the store lacks. Extraction does it
beforehand, survives kills, and tells which clips are broken.

Example:
    >>> from pave.extract import ExtractConfig, extract
    >>> report = extract(ExtractConfig(records="train.jsonl", store="tokens", channel="audio", encoder="mel"))  # doctest: +SKIP
"""

from pave.extract.config import ExtractConfig
from pave.extract.report import ExtractReport, Progress, Skipped
from pave.extract.run import extract

__all__ = ["ExtractConfig", "ExtractReport", "Progress", "Skipped", "extract"]
