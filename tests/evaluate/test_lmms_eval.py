"""The adapter for lmms-eval answers what the patched model answers."""

from __future__ import annotations

from pathlib import Path

import pytest

import pave
from helpers import tinyrun
from helpers.lmms import adapter_class, request
from pave.errors import ConfigError


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that the manifest names."""
    return adapter_class(monkeypatch)


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
    asked = request(
        "What do you hear?", [str(made.loud)], max_new_tokens=12, until=["\n\n"], do_sample=False
    )
    assert [bare.generate_until([asked])[0], with_patch.generate_until([asked])[0]] == wanted
    assert wanted[0] != wanted[1]
    for visuals in ([], [object()], [str(made.loud)] * 2):
        with pytest.raises(ConfigError, match="path of one video"):
            bare.generate_until([request("What do you hear?", visuals)])
    for refused in (bare.loglikelihood, bare.generate_until_multi_round):
        with pytest.raises(ConfigError, match="generate_until"):
            refused([asked])


def test_lmms_eval_finds_the_manifest() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    assert project["entry-points"]["lmms_eval.models"] == {
        "pave": "pave.evaluate.lmms_plugin:manifest"
    }
