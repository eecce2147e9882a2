"""Recipes are found by name, wherever pave is installed and whatever the current folder is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pave.cli import main
from pave.cli.settings import take_config
from pave.errors import ConfigError
from pave.train import load_config
from pave.train.recipes import list_recipes, recipe_file, settings_file


def test_a_recipe_is_taken_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("avqa-7b").task == "avqa"
    _, (source,) = take_config(["train", "--config", "avqa-7b"])
    assert source.data["channel"] == "audio"


def test_a_file_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("avqa-7b").write_text("records: mine.jsonl\nout: here\n")
    assert load_config("avqa-7b").records == Path("mine.jsonl")
    assert settings_file("no-such") == Path("no-such")


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'scanqa-7b'\?.*pave recipes"):
        recipe_file("scanqa7b")
    with pytest.raises(ConfigError, match="YAML file or the name of a recipe"):
        take_config(["train", "--config", "scanqa7b"])


def test_the_verb_lists_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in list_recipes())
    assert main(["recipes", "sqa3d-7b"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["task"] == "sqa3d"
    assert main(["recipes", "sqa3d"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
