"""docs/how-to/change-the-fusion.md, followed to the letter."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import yaml

from helpers.pages import DOCS, files_of, follow
from pave import PatchedModel, Tokens, registry
from pave.fusion import FusionConfig, make_fusion, read_fusion_config
from pave.testing import tiny_base, tiny_inputs

PAGE = DOCS / "how-to" / "change-the-fusion.md"
FILES = files_of(PAGE)


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files in a folder that can be imported from."""
    return follow(FILES, tmp_path, monkeypatch)


def test_at_most_three_files() -> None:
    assert set(FILES) == {"my_fusion.py", "test_my_fusion.py", "pyproject.toml"}


def test_its_settings_are_settings() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    given = yaml.safe_load(block)["fusion"]
    # heads such that a head's width is a multiple of 16, as rope wants it
    config = FusionConfig(side_dim=8, query_dim=6, out_dim=10, **given)
    assert (config.hidden, config.layers, config.rope) == (256, 3, "3d")


def test_its_test_passes(followed: Path) -> None:
    import test_my_fusion

    test_my_fusion.test_my_fusion()


def test_its_entry_point_is_enough(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch with it is made, saved and loaded where nobody imported the package by hand."""
    project = tomllib.loads((followed / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["pave.fusions"].items()
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [EntryPoint(name, value, "pave.fusions")]
    )
    base = tiny_base()
    inputs = tiny_inputs(base, (4,))
    plain = base.model(**inputs).logits
    model = PatchedModel(base)
    model.new_patch("odd", encoder=None, fusion={"type": "nearest", "side_dim": 8})
    side = [{"odd": Tokens(torch.randn(3, 1, 8), torch.arange(3.0))}]
    assert torch.equal(model(side, **inputs).logits, plain)

    fusion = model.patches["odd"].fusion
    assert fusion is not None
    torch.nn.init.normal_(fusion.get_parameter("second.weight"))
    awake = model(side, **inputs).logits
    assert not torch.equal(awake, plain)
    folder = model.save_patch(followed / "patch")
    model.delete_patch("odd")
    model.load_patch(folder)
    assert torch.equal(model(side, **inputs).logits, awake)


def test_the_nearest_step_is_the_nearest(followed: Path) -> None:
    """By hand: frames at 0, 1, 2 s and steps at 0.1, 1.9 s see steps 0, 0 and 1."""
    import my_fusion

    config = read_fusion_config({"type": "nearest", "side_dim": 1, "query_dim": 2, "out_dim": 1})
    assert isinstance(config, my_fusion.NearestConfig)
    fusion = make_fusion(config)
    torch.nn.init.ones_(fusion.get_parameter("second.weight"))
    query, side = torch.zeros(3, 1, 2), torch.tensor([[[1.0]], [[5.0]]])
    seconds = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.1, 1.9])
    (found,) = fusion([query], [side], [seconds[0]], [seconds[1]])
    first, second, third = found.flatten()
    # Rows of one product may be rounded apart.
    assert torch.isclose(first, second) and not torch.isclose(second, third)
