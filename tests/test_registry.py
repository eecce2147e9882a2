"""`pave.registry`: who a name belongs to, and one clear line for everything that is wrong."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pave import registry
from pave.errors import ConfigError
from pave.registry import Registry, did_you_mean, registering

GROUP = "pave.colours"


class Red:
    """Somebody's colour."""


class Blue:
    """Another one's."""


def colours(own: dict[str, str] | None = None) -> Registry[type]:
    """An empty registry."""
    return Registry("colour", GROUP, own or {}, ConfigError)


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Install modules whose names start with `plug_`, and announce their entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, value: str, code: str = "") -> None:
        module = value.split(":")[0]
        (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.delitem(sys.modules, module, raising=False)
        point = EntryPoint(name, value, GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: [point])

    return install


def test_the_same_thing_may_be_registered_again() -> None:
    """A re-run cell makes a new class of the same name."""
    known = colours()
    known.register("red", Red)
    again = type("Red", (), {"__module__": Red.__module__, "__qualname__": Red.__qualname__})
    assert registering(known, "red")(again) is again
    assert known.get("red") is again


def test_another_thing_may_not() -> None:
    known = colours()
    known.register("red", Red)
    with pytest.raises(ConfigError, match="colour 'red' is already registered by .*Red; choose"):
        known.register("red", Blue)


@pytest.mark.parametrize("first", ["own", "program's"])
def test_the_program_wins_over_pave_s_own(first: str) -> None:
    """Whichever of the two comes first."""
    known = colours({"red": "pave.version"})
    own = type("Own", (), {"__module__": "pave.version", "__qualname__": "Own"})
    for thing in [own, Red] if first == "own" else [Red, own]:
        known.register("red", thing)
    assert known.get("red") is Red


def test_pave_s_own_wins_over_a_plug_in(announce) -> None:
    announce("red", "plug_red", "raise RuntimeError('must not be imported')")
    known = colours({"red": "pave.version"})
    with pytest.raises(ConfigError, match="does not register it"):
        known.get("red")  # pave.version, which is imported instead, has no colours
    assert "plug_red" not in sys.modules


def test_a_plug_in_is_imported_when_it_is_asked_for(announce, monkeypatch) -> None:
    known = colours()
    monkeypatch.setattr(registry, "KNOWN", known, raising=False)
    code = "from pave import registry\nclass Green: pass\nregistry.KNOWN.register('green', Green)"
    announce("green", "plug_green:Green", code)
    assert known.names() == ["green"]
    assert known.registered() == {}
    assert "plug_green" not in sys.modules
    assert known.get("green").__module__ == "plug_green"


def test_a_plug_in_that_fails_to_import_is_named(announce) -> None:
    announce("green", "plug_broken", "import nothing_of_that_name")
    with pytest.raises(
        ConfigError,
        match=r"the package of colour 'green' \(plug_broken\) fails to import: No module named",
    ):
        colours().get("green")


def test_a_plug_in_that_registers_nothing_is_named(announce) -> None:
    announce("green", "plug_empty")
    with pytest.raises(ConfigError, match="announces colour 'green' does not register"):
        colours().get("green")


def test_a_name_that_nobody_knows_gets_the_nearest_one() -> None:
    known = colours()
    known.register("red", Red)
    with pytest.raises(
        ConfigError, match=r"there is no colour 'rde' \(did you mean 'red'\?\); available: red"
    ):
        known.get("rde")
    with pytest.raises(ConfigError, match="no colour 'x'; available: none"):
        colours().get("x")
    assert did_you_mean("purple", ["red"]) == ""
