"""What lmms-eval finds under its entry points `lmms_eval.models`: the name `pave`, and where its class is."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The registration of `pave.evaluate.lmms_eval.Patched`, a `lmms_eval.models.registry_v2.ModelManifest`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="pave", simple_class_path="pave.evaluate.lmms_eval.Patched")
