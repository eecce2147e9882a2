"""`pave schema`: what the verbs take from a file is valid, what they refuse is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pave.cli import main
from pave.data import Record, Turn, write_records
from pave.evaluate import EvalConfig
from pave.train import TrainConfig
from pave.train.recipes import recipes_folder


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]):
    """Validator of a kind of file, from what the command prints."""

    def validator(what: str) -> jsonschema.Draft202012Validator:
        assert main(["schema", what]) == 0
        schema = json.loads(capsys.readouterr().out)
        jsonschema.Draft202012Validator.check_schema(schema)
        return jsonschema.Draft202012Validator(schema)

    return validator


def test_every_recipe_is_valid(check) -> None:
    train = check("train")
    recipes = sorted(recipes_folder().glob("*.yaml"))
    assert len(recipes) > 10
    for recipe in recipes:
        train.validate(yaml.safe_load(recipe.read_text("utf-8")))


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"stepz": 3}, []),
        ({"steps": "many"}, ["steps"]),
        ({"lora": {"rnak": 4}}, ["lora"]),
        ({"base_lora": "melted"}, ["base_lora"]),
    ],
)
def test_what_training_refuses_is_marked(check, wrong: dict[str, Any], where: list[str]) -> None:
    (problem,) = check("train").iter_errors({"records": "a.jsonl", "out": "o", **wrong})
    assert list(problem.absolute_path) == where
    with pytest.raises(ValueError):
        TrainConfig.model_validate({"records": "a.jsonl", "out": "o", **wrong})


def test_settings_that_a_run_keeps_are_valid(check) -> None:
    kept = TrainConfig(records="a.jsonl", out="o").model_dump(mode="json")
    check("train").validate(kept)
    kept = EvalConfig(records="a.jsonl", out="o").model_dump(mode="json")
    check("eval").validate(kept)


def test_arms_may_be_written_as_on_the_command_line(check) -> None:
    arms = {"base": "none", "bare": None, "sound": "runs/a/patch", "both": ["a", "b"]}
    check("eval").validate({"arms": arms})
    assert EvalConfig(records="a", out="o", arms=arms).arms["both"] == [Path("a"), Path("b")]
    assert not check("eval").is_valid({"arms": {"sound": 3}})


def test_a_record_is_a_line_of_its_file(check, tmp_path: Path) -> None:
    record = Record(id="a", video="a.mp4", turns=[Turn(question="What?", answer="a dog")])
    (line,) = write_records(tmp_path / "r.jsonl", [record]).read_text("utf-8").splitlines()
    check("record").validate(json.loads(line))
    assert not check("record").is_valid({"id": "a", "turns": []})
