"""Verbs of other packages, and the words of older versions of the command line."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pave import registry
from pave.cli import main
from pave.cli.old_names import OLD_FLAGS, present_settings, present_words
from pave.cli.verbs import OWN, all_verbs, find_verb
from pave.errors import ConfigError
from pave.tasks.registry import EXACT, list_tasks

VERB = '''"""A verb."""
import sys
LOADED = sys.modules["torch_of_hello"] = sys
def hello_verb(name: str, /, *, loud: bool = False) -> int:
    """Greet somebody.

    Args:
        name: Whom.
        loud: With an exclamation mark.
    """
    print(f"hello {name}" + "!" * loud)
    return 0
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that announces four verbs, of which one works."""
    (tmp_path / "greeting.py").write_text(VERB)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    folder = tmp_path / "greeting-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[pave.verbs]\nhello = greeting:hello_verb\nbroken = broken:broken_verb\n"
        "gone = deleted_package.cli:gone_verb\ntrain = greeting:hello_verb\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("package")
def test_a_package_adds_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hello", "world", "--loud"]) == 0
    assert capsys.readouterr().out == "hello world!\n"
    assert main(["hello", "--help"]) == 0
    assert "Whom." in capsys.readouterr().out
    assert main(["hello"]) == 2
    assert "NAME is missing (see: pave hello --help)" in capsys.readouterr().err


def test_prepare_lists_the_benchmarks_that_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other packages too; `exact` has no annotation files."""
    monkeypatch.delitem(sys.modules, "pave.cli.prepare", raising=False)
    point = EntryPoint("someones-task", "someone.task", "pave.tasks")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert main(["prepare", "--help"]) == 0
    text = capsys.readouterr().out
    for name in {*list_tasks(), "someones-task"} - {EXACT}:
        assert name in text
    assert "exact" not in text


@pytest.mark.usefixtures("package")
def test_the_list_imports_no_package(capsys: pytest.CaptureFixture[str]) -> None:
    """What a verb does is read from its source; a verb whose package has gone is not listed."""
    for name in ("greeting", "torch_of_hello"):
        sys.modules.pop(name, None)
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "│ hello" in out and "Greet somebody." in out
    assert "│ broken" in out and "│ gone" not in out
    assert "torch_of_hello" not in sys.modules


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("verb", ["broken", "gone"])
def test_a_broken_package_is_one_line(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    error = capsys.readouterr().err
    assert f"the package of the command '{verb}'" in error and error.count("\n") == 1


@pytest.mark.usefixtures("package")
def test_nobody_takes_a_name_of_ours() -> None:
    assert find_verb("train").module == "pave.cli.train"
    assert [verb.name for verb in all_verbs()].count("train") == 1
    with pytest.raises(ConfigError, match=r"unknown command 'helo' \(did you mean 'hello'\?\)"):
        find_verb("helo")


@pytest.mark.parametrize("verb", OWN)
def test_every_verb_of_ours_says_in_a_line_what_it_does(verb: str) -> None:
    summary = find_verb(verb).summary()
    assert summary.endswith(".") and len(summary) > 20


@pytest.mark.parametrize("verb", OWN)
def test_help_can_be_read_and_its_examples_copied(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every argument has its text, and no example is broken at the edge of a terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb, "--help"]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert not [line for line in shown if line.startswith("Args:")]
    module, function = find_verb(verb).place.split(":")
    text = inspect.getdoc(getattr(importlib.import_module(module), function)) or ""
    (examples,) = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    for line in examples.splitlines():
        assert line.strip() in shown


@pytest.mark.parametrize(
    ("verb", "old", "new"),
    [(verb, *pair) for verb in OLD_FLAGS for pair in OLD_FLAGS[verb].items()],
)
def test_old_flags_are_named_and_replaced(
    verb: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for ending in ([old, "x"], [f"{old}=x"], [f"{old.replace('-', '_').replace('__', '--', 1)}=x"]):
        present = present_words([verb, *ending])
        assert present == [verb, ending[0].replace(ending[0].partition("=")[0], new), *ending[1:]]
        assert capsys.readouterr().err == f"pave: {old} is called {new} now\n"
    key, present_key = (name.removeprefix("--").replace("-", "_") for name in (old, new))
    assert present_settings(verb, {key: 1}) == {present_key: 1}
    with pytest.raises(ConfigError, match=f"{key} is the old name of {present_key}"):
        present_settings(verb, {key: 1, present_key: 2})


def test_an_old_verb_is_named_and_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert present_words(["store", "stats", "tokens"]) == ["cache", "stats", "tokens"]
    assert capsys.readouterr().err == "pave: store is called cache now\n"
