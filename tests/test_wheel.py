"""The package away from its repository: source archive and wheel are complete, small, and work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import pave
from helpers.hub_server import HubServer

ROOT = Path(__file__).parents[1]
PACKAGES = ("pave", "pave_world")
BUILD = "from setuptools import build_meta; print(build_meta.build_{}('built'))"
# Where the running environment keeps what pave depends on; pave itself comes from the wheel.
LIBRARIES = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """What a command printed; it must not see this repository."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    mine |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=cwd, env=mine
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def sources() -> set[str]:
    """Every file of both packages, as a wheel names it."""
    src = ROOT / "src"
    found = set()
    for package in PACKAGES:
        for file in (src / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                found.add(file.relative_to(src).as_posix())
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source archive, made of a copy of the repository, and the wheel that is built from it."""
    place = tmp_path_factory.mktemp("build")
    unwanted = shutil.ignore_patterns(
        "__pycache__", "*.egg-info", ".*", "outputs", "site", "build", "dist", "node_modules"
    )
    shutil.copytree(ROOT, place / "copy", ignore=unwanted)
    words = (sys.executable, "-c", BUILD.format("sdist"))
    name = run(*words, cwd=place / "copy").split()[-1]
    archive = place / "copy" / "built" / name
    with tarfile.open(archive) as bundle:
        bundle.extractall(place, filter="data")
    source = place / name.removesuffix(".tar.gz")
    wheel = run(sys.executable, "-c", BUILD.format("wheel"), cwd=source).split()[-1]
    return archive, source / "built" / wheel


@pytest.mark.slow
def test_archive_and_wheel_are_complete_and_small(built: tuple[Path, Path]) -> None:
    archive, wheel = built
    with zipfile.ZipFile(wheel) as bundle:
        inside = set(bundle.namelist())
    kept = {name for name in inside if ".dist-info/" not in name}
    assert kept == sources()  # nothing is missing, and nothing else is there
    assert {"pave/recipes/avqa-7b.yaml", "pave/bases/smol/requirements-smol.txt"} <= kept
    with tarfile.open(archive) as bundle:
        names = {name.partition("/")[2] for name in bundle.getnames()}
    assert {"README.md", "LICENSE", "CITATION.cff", "constraints.txt", "pyproject.toml"} <= names
    assert {f"src/{name}" for name in sources()} <= names
    assert not {name for name in names if name.startswith(("tests", "docs", "benchmarks"))}
    # What is large in it are the weights of smol (5 MB) and the shipped patch.
    assert archive.stat().st_size < 14_000_000 and wheel.stat().st_size < 14_000_000


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a clean environment that holds the wheel alone, and borrows the rest."""
    place = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(place)  # without pip: the running environment's installs into it
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    python = programs / Path(sys.executable).name
    if not python.exists():
        python = programs / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", built[1], cwd=place)
    libraries = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place
    )
    (Path(libraries.strip()) / "borrowed.pth").write_text("\n".join(sorted(LIBRARIES)) + "\n")
    return programs


@pytest.mark.slow
def test_it_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        return run(installed / "pave", *words, cwd=tmp_path)

    python = installed / "python"
    where = run(python, "-c", "import pave; print(pave.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where  # not the repository's
    assert said("--version") == f"{pave.__version__}\n"
    assert run(python, "-m", "pave", "--version", cwd=tmp_path) == f"{pave.__version__}\n"
    assert "avqa-7b" in said("recipes") and "encoder: imagebind" in said("recipes", "avqa-7b")
    assert said("setup", "smol", "--dry-run") == "everything that smol needs is installed\n"
    assert '"properties"' in said("schema", "train")
    said("new-channel", "heart")
    world = ("world", "films", "--split", "test", "--clips", "2")
    said(*world)
    clip = sorted((tmp_path / "films" / "clips").glob("*.mp4"))[0]
    assert said("ask", str(clip), "What do you hear?").strip()
    demo = ["demo", "--train-clips", "4", "--test-clips", "2", "--steps", "1", "--align-steps", "1"]
    if "--full" in said("demo", "--help"):
        demo.append("--full")
    assert "base" in said(*demo)
    assert (tmp_path / "outputs" / "demo" / "report.md").is_file()


@pytest.mark.slow
def test_a_patch_goes_to_the_hub_and_comes_back(installed: Path, tmp_path: Path) -> None:
    """Pushed, found, fetched, and asked without a connection, all from an empty folder."""
    ask_where = "from pave_world.shipped import sound_demo; print(sound_demo())"
    shipped = run(installed / "python", "-c", ask_where, cwd=tmp_path).strip()
    shutil.copytree(shipped, tmp_path / "patch")  # what is pushed is described in place
    home = {"HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": "someone"}
    with HubServer() as hub:
        online = {**home, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}

        def said(*words: str) -> str:
            return run(installed / "pave", *words, cwd=tmp_path, **online)

        assert "someone/sound/commit/" in said("push", "patch", "someone/sound")
        assert "someone/sound" in said("search", "sound", "--channel", "audio")
        folder = Path(said("pull", "someone/sound").split()[-1])
        assert (folder / "patch.json").read_bytes() == (tmp_path / "patch/patch.json").read_bytes()
    assert "audio" in run(installed / "pave", "info", "someone/sound", cwd=tmp_path, **home)


@pytest.mark.slow
def test_every_word_of_the_command_line_explains_itself(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "pave", "--help", cwd=tmp_path)
    verbs = re.findall(r"^│ ([a-z][a-z-]+) ", listed, re.MULTILINE)
    assert {"demo", "world", "ask", "push", "recipes", "schema", "setup"} <= set(verbs)
    for verb in verbs:
        assert f"pave {verb}" in run(installed / "pave", verb, "--help", cwd=tmp_path)
    for kind in ("train", "eval", "record"):
        assert '"properties"' in run(installed / "pave", "schema", kind, cwd=tmp_path)


def completions(installed: Path, home: Path, shell: str) -> tuple[Path, dict[str, str]]:
    """The file that `--install-completion` wrote for a shell, and the environment for it."""
    environment = {"HOME": str(home), "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}"}
    run(installed / "pave", "--install-completion", "--shell", shell, cwd=home, **environment)
    (script,) = [file for file in home.rglob("*pave*") if file.is_file()]
    return script, environment


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_and_flags(installed: Path, tmp_path: Path) -> None:
    script, home = completions(installed, tmp_path, "bash")

    def completed(*words: str) -> set[str]:
        line = " ".join(words)
        ask = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
            "$(complete -p pave | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return set(run("bash", "-c", ask, cwd=tmp_path, **home).split())

    assert "train" in completed("pave", "tr")
    assert "--align-steps" in completed("pave", "train", "--align")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes_verbs_and_flags(installed: Path, tmp_path: Path) -> None:
    _, home = completions(installed, tmp_path, "fish")

    def completed(line: str) -> str:
        return run("fish", "-c", f"complete -C '{line}'", cwd=tmp_path, **home)

    assert "train" in completed("pave tr")
    assert "--align-steps" in completed("pave train --align")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_completion(installed: Path, tmp_path: Path) -> None:
    """Only a terminal completes in zsh, so it is asked what it has loaded for `pave`."""
    script, home = completions(installed, tmp_path, "zsh")
    ask = f"fpath=({script.parent} $fpath); autoload -U compinit; compinit -u; print $_comps[pave]"
    assert run("zsh", "-f", "-c", ask, cwd=tmp_path, **home).strip() == script.name
    run("zsh", "-n", script, cwd=tmp_path, **home)
    assert "--align-steps" in script.read_text("utf-8")
