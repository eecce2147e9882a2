"""Patches inside vLLM: a plug-in, and the command that starts vLLM's own server with it.

vLLM finds `register` by the entry point group `vllm.general_plugins`, in each of its processes. A
patch is the name of a LoRA there; its fusion works where vLLM makes the visual tokens of a clip.
Nothing else of pave imports this package, and pave does not need vLLM.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.vllm.launch import command
    from pave.vllm.patches import served, serving

_HOMES = {
    "command": "pave.vllm.launch",
    "served": "pave.vllm.patches",
    "serving": "pave.vllm.patches",
}

__all__ = ["command", "register", "served", "serving"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

BASE = "PAVE_VLLM_BASE"
"""The variable of the environment with the base's folder; all processes of vLLM have it."""
PATCHES = "PAVE_VLLM_PATCHES"
"""The patches, as a JSON object of name and folder."""
MODELS = {
    "llava_onevision": ("pave.vllm.llava_onevision", "PaveLlavaOnevision"),
    "qwen2_vl": ("pave.vllm.qwen_vl", "PaveQwen2VL"),
    "qwen2_5_vl": ("pave.vllm.qwen_vl", "PaveQwen25VL"),
}
"""Family -> module and name of our class: the architecture, put in the place of the base's own."""


def register() -> None:
    """Give vLLM our model class and our reader of clips; nothing where no patches are served."""
    if PATCHES not in os.environ:
        return  # vLLM was started for something else
    from vllm import ModelRegistry
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY

    from pave.vllm.reading import ClipLoader

    # By their places: vLLM imports one in the process that needs it.
    for module, name in MODELS.values():
        ModelRegistry.register_model(name, f"{module}:{name}")
    VIDEO_LOADER_REGISTRY.register("pave")(ClipLoader)
