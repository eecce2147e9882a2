"""The authors' released patches: their configs by name, their state dicts, and how a checkpoint becomes a patch folder.

Example:
    >>> from pave.patches.official import fusion_config
    >>> fusion_config("V5_1_3_audio_languagebind_7B").parameters()
    8996352
"""

from pave.channels.official import side_from_disk
from pave.patches.official.configs import fusion_config, list_configs
from pave.patches.official.convert import Converted, convert
from pave.patches.official.weights import load_fusion, official_name, side_from_batch

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
