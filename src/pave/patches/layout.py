"""The files of a patch folder.

patch.json            what the patch is (`PatchConfig`), with the sha256 of every weight file
fusion.safetensors    weights of the fusion function
lora/                 a standard PEFT adapter (adapter_config.json, adapter_model.safetensors)
README.md             generated card
"""

from __future__ import annotations

from pave.patches.config import PatchConfig

MANIFEST = "patch.json"
CARD = "README.md"
FUSION = "fusion.safetensors"
LORA_CONFIG = "lora/adapter_config.json"
LORA = "lora/adapter_model.safetensors"

FILES = (MANIFEST, CARD, FUSION, LORA_CONFIG, LORA)
"""All that a patch folder may hold."""


def weight_files(config: PatchConfig) -> list[str]:
    """The weight files that a patch of this config has, by their path in the folder."""
    names = []
    if config.fusion is not None:
        names.append(FUSION)
    if config.lora is not None:
        names += [LORA_CONFIG, LORA]
    return names
