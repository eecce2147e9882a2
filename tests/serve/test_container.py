"""The image's files, as far as they can be checked where no image can be built."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from pave.cli.app import make_app
from pave.cli.verbs import find_verb

ROOT = Path(__file__).parents[2]


def words_of(instruction: str) -> list[str]:
    """The JSON list behind an instruction of the Dockerfile."""
    found = re.search(rf"^{instruction} (\[.*\])$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert found
    return json.loads(found[1])


def parsed(words: list[str]) -> dict[str, Any]:
    """Arguments of `pave serve` as the command line understands them."""
    _, bound, _ = make_app(find_verb("serve")).parse_args(words)
    return bound.arguments | dict(enumerate(bound.args))


def test_the_image_starts_a_server_that_others_reach() -> None:
    program, *words = words_of("ENTRYPOINT")
    assert program == "pave"
    started = parsed([*words, *words_of("CMD")])
    assert started["host"] == "0.0.0.0"
    assert started["patch"] == ("sound=sound-demo",)


def test_the_composed_server_has_a_key_and_few_rights() -> None:
    (service,) = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"].values()
    started = parsed([*words_of("ENTRYPOINT")[1:], *service["command"]])
    assert started["ui"] is True and str(started["serve_folder"]) == "/clips"
    assert service["environment"]["PAVE_API_KEY"].startswith("${PAVE_API_KEY:?")
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    (port,) = service["ports"]
    assert port.startswith("127.0.0.1:")


def test_what_is_copied_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^COPY (.+)$", text, re.M):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
    assert "requirements-smol.txt" in text
    assert (ROOT / "src/pave/bases/smol/requirements-smol.txt").exists()


def test_what_is_installed_is_what_the_project_says() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (python,) = re.findall(r"^FROM python:3\.(\d+)-slim$", text, re.M)
    least = project["requires-python"].removeprefix(">=3.")
    assert int(python) >= int(least)
    (extras,) = re.findall(r'"\.\[(.+)\]"', text)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    # What builds the package names these files, and the versions come from constraints.txt.
    copied = " ".join(re.findall(r"^COPY (.+)$", text, re.M)).split()
    assert {"pyproject.toml", project["readme"], *project["license-files"]} <= set(copied)
    assert text.count("pip install") == text.count("-c constraints.txt") == 3
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert not set(copied) & set(ignored)
