"""What users write: the names of `import pave` and the page that lists them."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pave
from pave.lazy import lazy_names

ROOT = Path(__file__).parents[1]


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Python in a fresh process: what has been imported here must not help."""
    return subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:pave", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "src",
    )


def test_every_public_name_loads_and_unknown_ones_do_not() -> None:
    for name in pave.__all__:
        assert getattr(pave, name) is not None
    assert set(pave.__all__) == set(dir(pave))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pave.nonsense  # noqa: B018


@pytest.mark.parametrize("verb", ["train", "evaluate", "extract"])
def test_a_room_named_like_its_function_is_both(verb: str) -> None:
    """In either order: the name first, or an import of the room first."""
    first = run(f"import pave; f = pave.{verb}; import pave.{verb}.config; assert callable(f)")
    assert first.returncode == 0, first.stderr
    code = f"import pave.{verb}.config; import pave; assert callable(pave.{verb}); pave.{verb}()"
    second = run(code)
    assert "missing 1 required positional argument: 'config'" in second.stderr


def test_the_python_page_is_what_the_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py", "--check"],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, "run: python tools/reference.py"


def test_every_public_name_of_every_package_is_in_the_reference() -> None:
    """Read from the pages and from the packages, not from the generator."""
    described = set()
    for page in ("python", "rooms"):
        text = (ROOT / "docs" / "reference" / f"{page}.md").read_text("utf-8")
        for home in re.findall(r"^::: (.+)$", text, re.MULTILINE):
            module, _, name = home.rpartition(".")
            described.add(id(getattr(importlib.import_module(module), name)))
    left_out = []
    for module in pkgutil.iter_modules(pave.__path__):
        # One is used by command only, the other by pave alone.
        if not module.ispkg or module.name in ("cli", "hf_compat"):
            continue
        room = importlib.import_module(f"pave.{module.name}")
        for name in room.__all__:
            thing = getattr(room, name)
            # A package that is called like its function stands for it.
            thing = getattr(thing, name, thing) if hasattr(thing, "__path__") else thing
            if id(thing) not in described:
                left_out.append(f"{room.__name__}.{name}")
    assert not left_out


def test_lazy_names_are_kept_once_they_are_found() -> None:
    package = ModuleType("made_up")
    sys.modules["made_up"] = package
    try:
        fetch, names = lazy_names("made_up", {"JSONDecoder": "json.decoder"})
        assert names() == ["JSONDecoder"]
        assert fetch("JSONDecoder") is package.JSONDecoder
    finally:
        del sys.modules["made_up"]
