"""lmms-eval for tests: its own classes where it is installed, and else stand-ins of them.

It is not among the development packages, because it wants an older av than the one pinned. The
stand-ins hold what its classes `lmms` and `ModelManifest` (0.7.3) ask of a model; names and order
of arguments are theirs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class Lmms:
    """As `lmms_eval.api.model.lmms` sets itself up."""

    def __init__(self) -> None:
        self.cache_hook = SimpleNamespace(add_partial=lambda *given: None)
        self.task_dict: dict[str, Any] = {}


@dataclass(frozen=True)
class ModelManifest:
    """The fields of `lmms_eval.models.registry_v2.ModelManifest`."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


def adapter_class(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that the manifest of `pave.evaluate.lmms_plugin` names."""
    if find_spec("lmms_eval") is None:
        for name in (
            "lmms_eval",
            "lmms_eval.api",
            "lmms_eval.api.model",
            "lmms_eval.models",
            "lmms_eval.models.registry_v2",
        ):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules["lmms_eval.api.model"].lmms = Lmms
        sys.modules["lmms_eval.models.registry_v2"].ModelManifest = ModelManifest
        monkeypatch.delitem(sys.modules, "pave.evaluate.lmms_eval", raising=False)
    from pave.evaluate.lmms_plugin import manifest

    made = manifest()
    assert made.model_id == "pave"
    module, _, name = made.simple_class_path.rpartition(".")
    found = getattr(import_module(module), name)
    assert found.is_simple
    return found


def request(prompt: str, visuals: list[Any], **settings: Any) -> SimpleNamespace:
    """One question about a video, as lmms-eval hands it over."""
    return SimpleNamespace(args=(prompt, settings, lambda doc: visuals, 0, "bench", "test"))
