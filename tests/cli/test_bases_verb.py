"""`pave bases`: families of installed packages beside pave's own, and building by a package."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pave import registry
from pave.cli import main
from pave.cli.bases import bases_verb


def test_a_broken_plug_in_is_listed_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint("odd_vl", "no_such_package_anywhere", "pave.families")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert bases_verb(json=True) == 0
    rows = json.loads(capsys.readouterr().out)["families"]
    (broken,) = (row for row in rows if row["model_types"] == ["odd_vl"])
    assert broken["name"].startswith("broken: the package of family 'odd_vl'")
    assert {"qwen3_vl", "llava_onevision"} <= {row["name"] for row in rows}


def test_building_is_done_by_the_package_that_announces_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = "def build(out, scratch): return {'out': str(out), 'scratch': str(scratch)}"
    (tmp_path / "some_builder.py").write_text(code)
    point = EntryPoint("smol", "some_builder:build", "pave.builders")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert bases_verb(build="smol", out=tmp_path / "w", scratch=tmp_path / "s", json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["weights"] == str(tmp_path / "w")
    assert said["scratch"] == str(tmp_path / "s")


def test_without_such_a_package_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    assert main(["bases", "--build", "smol"]) == 2
    assert "no installed package builds smol" in capsys.readouterr().err
