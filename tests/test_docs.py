"""What the pages say exists: links, navigation, commands and flags, Python that parses."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import tomllib
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cyclopts import App, CycloptsError, MissingArgumentError
from pydantic import ValidationError

from pave.cli import main
from pave.cli.app import make_app
from pave.cli.old_names import present_words
from pave.cli.settings import usage_error
from pave.cli.verbs import find_verb
from pave.errors import PaveError
from pave.media import write_video

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (name(page), code)
        for page in PAGES
        for kind, code in BLOCK.findall(page.read_text("utf-8"))
        if kind == language
    ]


def shell_lines(text: str) -> list[str]:
    """What a page types into a shell, long lines joined."""
    found = []
    for kind, code in BLOCK.findall(text):
        if kind in ("bash", "console"):
            found += code.replace("\\\n", " ").splitlines()
    return found


def typed(line: str, program: str) -> list[list[str]]:
    """The uses of a program in a shell line: words after its name, up to a pipe or redirection.

    Example:
        >>> typed("time -v pave runs runs | sort > list.txt  # all", "pave")
        [['runs', 'runs']]
    """
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    try:
        words = [word.removeprefix(".venv/bin/") for word in reader]
    except ValueError:  # a quotation of several lines, which is no command of ours
        return []
    found: list[list[str]] = []
    command: list[str] = []
    for word in [*words, ";"]:
        if not set(word) <= set("();<>|&"):
            command.append(word)
            continue
        if program in command:  # behind a prompt, `time -v`, or variables
            found.append(command[command.index(program) + 1 :])
        command = []
    return [words for words in found if words]


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Every use of a program: lines of shell blocks, and `inline code` that starts so."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        inline = re.findall(rf"(?<!`)`({program} [^`\n]+)`(?!`)", BLOCK.sub("", text))
        for line in [*shell_lines(text), *inline]:
            found += [(f"{name(page)}: {line.strip()}", words) for words in typed(line, program)]
    return found


@cache
def app_of(verb: str) -> App:
    return make_app(find_verb(verb))


@cache
def help_of(verb: str) -> str:
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        patch.setenv("COLUMNS", "200")
        assert main([verb, "--help"]) == 0
    return shown.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    targets = [
        target.split("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in target
    ]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert not missing
    # The home page tells the theme first to show no side bars.
    body = re.sub(r"\A---\n.*?\n---\s+", "", text, flags=re.DOTALL)
    assert page.name == "README.md" or body.startswith("# ")


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown and GitHub name them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+#[^)\s]+)\)", text):
        place, anchor = target.split("#")
        if "://" not in target and anchor not in slugs(page.parent / place if place else page):
            wrong.append(target)
    assert not wrong


def test_messages_in_troubleshooting_are_those_of_the_product() -> None:
    """Each piece between the dots stands in a text of the source, Makefile or advice included."""
    texts = [(ROOT / "Makefile").read_text("utf-8")]
    for path in (ROOT / "src").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        texts += [
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    everything = "\n".join(texts)
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert len(rows) > 40
    pieces = [
        piece.strip(" :;,'")
        for row in rows
        for message in re.findall(r"`([^`]+)`", row)
        for piece in message.split("...")
    ]
    missing = [piece for piece in pieces if piece not in everything]
    assert not missing


FIRST_HOUR = (
    "pave/bases/smol/__init__.py",
    "pave/bases/smol/assemble.py",
    "pave/bases/smol/wheels.py",
    "pave/cli/ask.py",
    "pave/cli/records.py",
    "pave/cli/verbs.py",
    "pave/data/table.py",
    "pave_world/films/make.py",
)
"""Modules whose errors a newcomer meets first: set-up, world, first question, first records."""


def raised(path: Path) -> Iterator[str]:
    """The fixed words of each error that a module raises, with `...` for the rest."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            text = node.exc.args[0]
            parts = getattr(text, "values", [text])
            words = [part.value if isinstance(part, ast.Constant) else "..." for part in parts]
            if any(" " in str(word) for word in words):
                yield "".join(map(str, words))


@pytest.mark.parametrize("module", FIRST_HOUR)
def test_the_errors_of_the_first_hour_are_in_troubleshooting(module: str) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    shown = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)))
    pieces = [piece.strip(" :;,'()") for message in shown for piece in message.split("...")]
    telling = [piece for piece in pieces if len(piece) >= 10]
    path = ROOT / "src" / module
    missing = [text for text in raised(path) if not any(piece in text for piece in telling)]
    assert not missing


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    nav = yaml.safe_load(text)["nav"]
    listed = set(re.findall(r"[\w/.-]+\.md", str(nav)))
    assert listed == {
        str(page.relative_to(ROOT / "docs")) for page in PAGES if "docs" in page.parts
    }


def test_pave_commands_in_the_pages_exist() -> None:
    uses = commands("pave")
    assert {words[0] for _, words in uses} >= {
        "demo",
        "train",
        "eval",
        "ask",
        "info",
        "world",
        "bases",
    }
    wrong = []
    for where, words in uses:
        if words[0].startswith("-"):
            continue
        if words[0] in ("demo", "world") and find_spec("pave_world") is None:
            continue  # verbs of the world, which was taken away
        known = help_of(words[0])
        flags = [word.split("=")[0] for word in words if word.startswith("--") and word != "--help"]
        wrong += [
            f"{where} ({flag})"
            for flag in flags
            if flag not in known and flag.split(".")[0] not in known
        ]
    assert not wrong, "\n".join(wrong)


def test_pave_commands_in_shell_blocks_are_taken_as_they_stand() -> None:
    """Read by the command line itself, which then does not run: names, values, what is missing."""
    refused = []
    uses = 0
    for page in PAGES:
        for line in shell_lines(page.read_text("utf-8")):
            for words in typed(line, "pave"):
                if words[0].startswith("-"):
                    continue
                if words[0] in ("demo", "world") and find_spec("pave_world") is None:
                    continue
                uses += 1
                if problem := refusal(words):
                    refused.append(f"{name(page)}: {line.strip()}: {problem}")
    assert not refused, "\n".join(refused)
    assert uses > 150
    assert "steps" in refusal(["train", "--records", "a.jsonl", "--out", "runs", "--steps", "few"])
    assert "--formt" in refusal(["compare", "a.jsonl", "b.jsonl", "--formt", "csv"])
    assert refusal(["train", "--out", "runs"])  # without records


def refusal(words: list[str]) -> str:
    """Why a command line is refused; empty if it is not."""
    words = present_words(words)
    from_file = "--config" in words
    if from_file:  # a file of the reader's, which may hold what is missing here
        place = words.index("--config")
        del words[place : place + 2]
    try:
        app_of(words[0]).parse_args(words)
    except MissingArgumentError as error:
        return "" if from_file else str(usage_error(error))
    except CycloptsError as error:
        cause = error.__cause__
        # What several settings have to agree on, the file may settle.
        if from_file and isinstance(cause, ValidationError) and not cause.errors()[0]["loc"]:
            return ""
        return str(usage_error(error))
    except PaveError as error:
        return str(error)
    return ""


def test_make_verbs_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    wrong = [where for where, words in commands("make") if words[0] not in targets]
    assert not wrong
    assert {"demo", "test", "lint", "docs", "bench", "results"} <= targets


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_in_the_pages_parses(page: str, code: str) -> None:
    ast.parse(code, page)


def test_the_encoder_of_the_channel_page_works(tmp_path: Path) -> None:
    (code,) = [code for page, code in blocks("python") if page.endswith("add-a-channel.md")]
    names: dict[str, Any] = {"__name__": "my_package.level"}
    exec(compile(code, "add-a-channel.md", "exec"), names)
    sound = np.concatenate([np.zeros(8000), 0.5 * np.sin(np.arange(8000) / 5)]).astype(np.float32)
    frames = [np.zeros((32, 32, 3), np.uint8)] * 20
    tokens = names["encoder"].encode(write_video(tmp_path / "clip.mp4", frames, 10, sound, 8000))
    assert tokens.times[:4].tolist() == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=0.1)
    assert tokens.values[0] < tokens.values[3] - 20
    assert (
        names["encoder"].encode(write_video(tmp_path / "silent.mp4", frames, 10, None, 8000))
        is None
    )


def test_decisions_are_dated_and_in_order() -> None:
    page = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        items = re.findall(r"^- (.{11})", section, re.MULTILINE)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d:", date) for date in items), section[:40]
        assert items == sorted(items), section.partition("\n")[0]


def test_the_readme_draws_the_tree_that_there_is() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = re.search(r"```text\nsrc/pave/\n(.*?)```", readme, re.DOTALL)
    assert tree
    drawn = re.findall(r"^  (\w+)/ ", tree[1], re.MULTILINE)
    rooms = {file.parent.name for file in (ROOT / "src" / "pave").glob("*/__init__.py")}
    assert sorted(drawn) == sorted({*rooms, "recipes"})
    # In the order of the layers that `lint-imports` checks, from top to bottom.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    order = [layer.strip("()") for layer in layers]
    assert drawn[:-1] == [room for room in order if room in drawn]
    beside = re.findall(r"^(\w[\w/]*)/ ", tree[1], re.MULTILINE)
    assert beside and all((ROOT / name).is_dir() for name in beside)


def test_ci_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    for verb in ("make test", "make lint", "make slow"):
        assert verb in script
    assert "make demo" in readme
    assert "make test" in readme
