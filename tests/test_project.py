"""The promises of the house: light imports, small documented files, nothing unfinished."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import pave
from pave.version import DISTRIBUTION

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ROOMS = [
    path for room in ("src", "tests", "docs", "benchmarks") for path in (ROOT / room).rglob("*")
]
KINDS = {".md", ".toml", ".txt", ".yml", ".yaml", ".py"}
TEXTS = [
    path
    for path in [*ROOT.glob("*"), *ROOMS, ROOT / ".ci" / "run"]
    if path.suffix in KINDS or path.name in ("Makefile", "run")
]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("module", ["pave", "pave.cli", "pave.errors"])
def test_imports_stay_light(module: str) -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'av'} & set(sys.modules)"
    code = f"import sys, {module}; sys.exit(str({heavy}) if {heavy} else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_help_loads_torch() -> None:
    code = """
import sys
from pave.cli.app import main
from pave.cli.verbs import OWN
codes = [main(["--help"]), *(main([verb, "--help"]) for verb in OWN)]
sys.exit(str(codes) if any(codes) or "torch" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_load_and_unknown_ones_do_not() -> None:
    for name in pave.__all__:
        assert getattr(pave, name) is not None
    assert set(pave.__all__) <= set(dir(pave))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pave.nonsense  # noqa: B018


def test_no_package_hides_a_module_of_its_name() -> None:
    """Python reads the package and never the file beside it; merges bring such files back."""
    hidden = [path for path in SOURCES if (path.with_suffix("") / "__init__.py").is_file()]
    assert hidden == []


def test_core_dependencies_are_few_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    core = project["dependencies"]
    assert len(core) <= 8
    declared = [*core, *chain(*project["optional-dependencies"].values())]
    pinned = {line.split("==")[0] for line in lines(ROOT / "constraints.txt") if "==" in line}
    every = {re.split(r"[<>=!~ ;\[]", line)[0].lower() for line in declared}
    assert every <= pinned, f"add to constraints.txt: {sorted(every - pinned)}"
    assert not [name for name in pinned if name.startswith(("torchvision", "nvidia", "cuda"))]


def test_no_module_needs_posix_to_be_imported() -> None:
    """What Windows lacks is imported where it is used, behind a check of the system."""
    lacking = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # Not inside functions: those may be for one system alone.
        for node in tree.body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [f"{path}: {name}" for name in names if name in lacking]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for_and_does_not_print(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module opens with a docstring"
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert not [call.lineno for call in calls if call.func.id == "print"], (
        "the library logs, it does not print"
    )
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in functions
        if node.end_lineno - node.lineno >= 120
    }
    assert not long
    assert len(lines(path)) <= 600


def test_files_are_small() -> None:
    sizes = [len(lines(path)) for path in SOURCES]
    assert statistics.median(sizes) <= 150
    assert statistics.quantiles(sizes, n=10)[-1] <= 350


def test_nothing_is_unfinished_or_tied_to_one_machine() -> None:
    unfinished = re.compile(r"\b(TO" r"DO|FIX" r"ME|raise NotImplemented" r"Error|set_" r"trace)\b")
    machine = re.compile(r"(?<![\w.~/])/(home|Users|root|mnt|work|opt)/[A-Za-z.]")
    hosts = re.compile(r"(pypi\.(org|python)|download\.py" r"torch|registry\.npm)")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(lines(path), 1)
        if unfinished.search(line) or machine.search(line) or hosts.search(line)
    ]
    assert not found, "\n".join(found)


def test_nobody_is_told_to_install_the_other_pave() -> None:
    """`pave` on the package index is a stranger's; ours is called `video-pave` there."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["name"] == (
        DISTRIBUTION
    )
    other = re.compile(
        r"""pip\ install\ [^`\n]*(?<![\w./-])pave(?![\w./-])  # pip install pave, "pave[demo]"
        |(?<![\w.-])pave\[[a-z]                             # pave[demo] anywhere
        |["']pave["' ]*[<>=~;]                             # a requirement, "pave>=1"
        |dependencies\ =\ \[[^\]]*["']pave["']
        |\b(version|requires|distribution|metadata)\(["']pave["']\)
        """,
        re.VERBOSE,
    )
    templates = (ROOT / "src").rglob("*.txt")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in {*TEXTS, *templates, ROOT / "CITATION.cff", *(ROOT / ".github").rglob("*.y*ml")}
        for number, line in enumerate(lines(path), 1)
        # A comparison of a word with "pave" in code is no requirement.
        if other.search(line) and path != Path(__file__)
    ]
    assert not found, "\n".join(found)


def test_the_citation_names_this_version() -> None:
    assert f"version: {pave.__version__}" in lines(ROOT / "CITATION.cff")


def test_nothing_large_is_kept() -> None:
    rooms = [path for path in ROOMS if path.is_file()]
    large = {
        str(path.relative_to(ROOT)): path.stat().st_size
        for path in rooms
        if path.stat().st_size > 12_000_000
    }
    assert not large
    assert sum(path.stat().st_size for path in rooms if "tests/data" in str(path)) < 6_000_000
