"""What lmms-eval finds under its entry points `lmms_eval.models`: a name and its class."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The registration of `pave.evaluate.lmms_eval.Patched`: lmms-eval's `ModelManifest`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="pave", simple_class_path="pave.evaluate.lmms_eval.Patched")
