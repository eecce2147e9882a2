"""The authors' formats: their checkpoints, feature files, annotations and conversion scripts.

Example:
    >>> from pave.paper import fusion_config
    >>> fusion_config("V5_1_3_audio_languagebind_7B").parameters()
    8996352
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.paper.configs import fusion_config, list_configs
    from pave.paper.convert import Converted, convert
    from pave.paper.features import side_from_disk
    from pave.paper.weights import load_fusion, official_name, side_from_batch

_HOMES = {
    "Converted": "pave.paper.convert",
    "convert": "pave.paper.convert",
    "fusion_config": "pave.paper.configs",
    "list_configs": "pave.paper.configs",
    "load_fusion": "pave.paper.weights",
    "official_name": "pave.paper.weights",
    "side_from_batch": "pave.paper.weights",
    "side_from_disk": "pave.paper.features",
}

__all__ = [
    "Converted",
    "convert",
    "fusion_config",
    "list_configs",
    "load_fusion",
    "official_name",
    "side_from_batch",
    "side_from_disk",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
