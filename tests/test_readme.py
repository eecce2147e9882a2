"""The README's Python runs as printed, on the embedded base and a real concert clip."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import EntryPoint, EntryPoints
from importlib.util import find_spec
from pathlib import Path

import pytest

from pave import registry

README = Path(__file__).parents[1] / "README.md"


def printed() -> str:
    found = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_example_is_short() -> None:
    assert len([line for line in printed().splitlines() if line.strip()]) <= 6


def test_the_example_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = pytest.importorskip("pave_world.scenes.catalog")
    spec = find_spec("iscc_samples")
    assert spec is not None, "a wheel of the extra smol is missing; run `make setup`"
    (concert,) = Path(str(spec.origin)).parent.rglob("demo.mp4")
    shutil.copy(concert, tmp_path / "concert.mp4")
    monkeypatch.chdir(tmp_path)

    # The patch is found by its name; an install that is older than its name would not know it.
    point = EntryPoint("sound-demo", "pave_world.shipped:sound_demo", "pave.patches")
    monkeypatch.setattr(registry, "entry_points", EntryPoints([point]).select)

    exec(compile(printed(), str(README), "exec"), {})
    patched, base = capsys.readouterr().out.split("base: ")
    assert patched != base
    # The patch names a thing that can be heard in the world it was trained on; the base does not.
    assert patched.strip() in catalog.names("sounding")
    assert base.strip() not in catalog.names("sounding")
