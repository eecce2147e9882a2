"""The adapter for lmms-eval: against its own classes where it is installed, and else against stand-ins of them.

It is not among the development packages, because it wants an older av than the one pinned. The
stand-ins hold what its classes `lmms` and `ModelManifest` (0.7.3) ask of a model; names and order
of arguments are theirs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pave
from helpers import tinyrun
from pave.errors import ConfigError


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


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that the manifest names."""
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


def _request(prompt: str, visuals: list[Any], **settings: Any) -> SimpleNamespace:
    return SimpleNamespace(args=(prompt, settings, lambda doc: visuals, 0, "bench", "test"))


def test_answers_are_those_of_the_patched_model(adapter: type, tmp_path: Path) -> None:
    made = tinyrun.make(tmp_path, clips=1, questions=1)
    with_patch = adapter(
        pretrained=str(made.base), patch=str(made.patch), frames=4, batch_size=1, device="cpu"
    )
    bare = adapter(pretrained=str(made.base), frames=4)
    model = pave.PatchedModel(pave.load_base(made.base))
    wanted = [model.ask(made.loud, "What do you hear?", frames=4, max_new_tokens=12)]
    model.load_patch(made.patch)
    wanted.append(model.ask(made.loud, "What do you hear?", frames=4, max_new_tokens=12))
    for lmm in (bare, with_patch):
        lmm.task_dict = {"bench": {"test": [{}]}}
    request = _request(
        "What do you hear?", [str(made.loud)], max_new_tokens=12, until=["\n\n"], do_sample=False
    )
    assert [bare.generate_until([request])[0], with_patch.generate_until([request])[0]] == wanted
    assert wanted[0] != wanted[1]
    for visuals in ([], [object()], [str(made.loud)] * 2):
        with pytest.raises(ConfigError, match="path of one video"):
            bare.generate_until([_request("What do you hear?", visuals)])
    for refused in (bare.loglikelihood, bare.generate_until_multi_round):
        with pytest.raises(ConfigError, match="generate_until"):
            refused([request])


def test_lmms_eval_finds_the_manifest() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    assert project["entry-points"]["lmms_eval.models"] == {
        "pave": "pave.evaluate.lmms_plugin:manifest"
    }
