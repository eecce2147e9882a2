"""Patches by name, from installed packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest

from helpers import tiny
from pave import registry
from pave.cli.info import _is_patch
from pave.errors import PatchError
from pave.model import PatchedModel
from pave.patches.installed import installed_patches
from pave.patches.remote import locate

GROUP = "pave.patches"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A patch that a package announces as `hearing`; one that is announced in vain as `lost`."""
    model = PatchedModel(tiny.base())
    model.new_patch("audio", fusion={"hidden": 16}, seed=0)
    made = model.save_patch(tmp_path / "site" / "hearing")
    module = ModuleType("some_patches")
    module.hearing = lambda: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_patches", module)
    points = EntryPoints(
        [
            EntryPoint("hearing", "some_patches:hearing", GROUP),
            EntryPoint("lost", "no_such_package:lost", GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


def test_an_installed_patch_loads_by_its_name(folder: Path) -> None:
    assert installed_patches() == ["hearing", "lost"]
    model = PatchedModel(tiny.base())
    assert model.load_patch("hearing") == "hearing"
    assert model.load_patch("hearing", name="twice") == "twice"
    assert locate("hearing") == folder
    # `pave info` takes the name for a patch, not for a video.
    assert _is_patch("hearing")
    # An arm of an evaluation is a path; one with a folder before it is no name.
    assert locate(Path("hearing")) == folder
    assert locate("./hearing") == Path("hearing")


def test_a_folder_here_is_taken_first_and_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("hearing").mkdir()
    assert locate("hearing") == Path("hearing")
    assert "hearing is a folder here, so the folder is loaded" in caplog.text


def test_a_wrong_name_is_told_with_those_that_there_are(folder: Path) -> None:
    model = PatchedModel(tiny.base())
    with pytest.raises(PatchError, match=r"no patch folder at haering \(did you mean 'hearing'\?"):
        model.load_patch("haering")
    with pytest.raises(PatchError, match=r"no patch folder at runs/x$"):
        model.load_patch("runs/x/")
    with pytest.raises(PatchError, match="package of patch 'lost' .* does not say where it is"):
        model.load_patch("lost")
