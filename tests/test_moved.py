"""Names of before: each leads to what it is called now, or says what to use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest

import pave
from pave import moved
from pave.cache import TokenCache

ROOT = Path(__file__).parents[1]
# Modules and `__all__` of every package, as they were before the rooms got their present names.
BEFORE = json.loads((ROOT / "tests/data/moved/public_names.json").read_text("utf-8"))


def is_here(old: str) -> bool:
    """Whether its new place can be had: `pave_world` need not be installed."""
    new = moved.NAMES.get(old) or moved.MODULES.get(old, "pave")
    return find_spec(new.partition(".")[0]) is not None


def import_name(old: str) -> object:
    """What `from MODULE import NAME` gives."""
    module, _, name = old.rpartition(".")
    found: dict[str, object] = {}
    exec(f"from {module} import {name}" if module else f"import {name}", found)
    return found[name]


def test_a_name_and_its_module_say_where_they_are_now() -> None:
    code = "from pave.store import TokenStore; print(TokenStore.__module__)"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "src",
    )
    assert done.stdout.split() == ["pave.cache.token_cache"]
    # The user's line is named, not one of Python's import system.
    assert "<string>:1: DeprecationWarning: pave.store is pave.cache now" in done.stderr
    assert "pave.store.TokenStore is pave.cache.TokenCache now" in done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestTables:
    """Every line of the tables."""

    @pytest.mark.parametrize("old", [old for old in moved.MODULES if is_here(old)])
    def test_module(self, old: str) -> None:
        assert import_module(old).__doc__ == import_module(moved.MODULES[old]).__doc__

    @pytest.mark.parametrize("old", [old for old in moved.NAMES if is_here(old)])
    def test_name(self, old: str) -> None:
        # Equal and not the same: a method is another object each time.
        assert import_name(old) == resolve_name(moved.NAMES[old])

    @pytest.mark.parametrize("old", moved.GONE)
    def test_gone(self, old: str) -> None:
        with pytest.raises(ImportError, match=re.escape(f"{old} was removed: {moved.GONE[old]}")):
            import_name(old)

    @pytest.mark.parametrize("old", moved.NEEDLESS)
    def test_needless(self, old: str) -> None:
        with pytest.warns(UserWarning, match=f"{old} did nothing: {moved.NEEDLESS[old]}"):
            assert import_name(old)("tokens", wait=False) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("module", BEFORE["modules"])
def test_no_module_of_before_is_simply_missing(module: str) -> None:
    if module.startswith(("pave.world", "pave.demo")) or not is_here(module):
        pytest.importorskip("pave_world")
    _imports_or_says_why(module)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("package", BEFORE["names"])
def test_no_public_name_of_before_is_simply_missing(package: str) -> None:
    if package == "pave.world":
        pytest.importorskip("pave_world")
    for name in BEFORE["names"][package]:
        _imports_or_says_why(f"{package}.{name}")


def _imports_or_says_why(old: str) -> None:
    try:
        import_name(old)
    except ImportError as error:
        assert " was removed: " in str(error), old


def test_what_never_was_is_told_as_such() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'pave.storehouse'"):
        import_module("pave.storehouse")
    with pytest.raises(ImportError, match="pave.store is now pave.cache, which has no nonsense"):
        import_name("pave.store.nonsense")
    with pytest.raises(ImportError, match="cannot import name 'nonsense' from 'pave.patches'"):
        import_name("pave.patches.nonsense")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_modules_answer_like_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    store = import_module("pave.store")
    assert not hasattr(store, "Leases")
    assert store.__all__ == import_module("pave.cache").__all__
    # What a program replaces is replaced where it is used.
    monkeypatch.setattr("pave.store.store.kept_dtype", print)
    assert import_module("pave.cache.token_cache").kept_dtype is print
    monkeypatch.undo()
    assert import_module("pave.cache.token_cache").kept_dtype is not print


def test_nothing_of_ours_uses_an_old_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for name in pave.__all__:
            getattr(pave, name)
    old = sorted({*moved.MODULES, *(name.rpartition(".")[0] for name in moved.NEEDLESS)})
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    used = [name for name in old if re.search(rf"(from|import) {re.escape(name)}\b", sources)]
    # The one mention is the example in the docstring of `pave.moved`.
    assert used == ["pave.store"]
    assert sources.count("from pave.store ") == 1


def test_methods_of_the_cache_by_their_old_names(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    with pytest.warns(DeprecationWarning, match="loose is called file now"):
        assert cache.loose("a" * 64) == cache.file("a" * 64)
    with pytest.warns(DeprecationWarning, match="loose_keys is called file_keys now"):
        assert list(cache.loose_keys()) == []
