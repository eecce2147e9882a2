"""The verbs: pave's own, and those of other packages.

A package adds a verb by an entry point in the group `pave.verbs`, named like the verb, that points
at a function whose parameters are the flags:

    [project.entry-points."pave.verbs"]
    hello = "my_package.hello:hello_verb"

The list of verbs says what each does in the first line of its docstring. That line is read from the
source, so that nobody's module, and with it torch, is imported before its verb is used.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from pave.errors import ConfigError, PaveError
from pave.registry import did_you_mean

GROUP = "pave.verbs"
OWN = (
    "train",
    "runs",
    "patch",
    "eval",
    "records",
    "prepare",
    "score",
    "compare",
    "report",
    "extract",
    "cache",
    "ask",
    "chat",
    "serve",
    "view",
    "info",
    "push",
    "pull",
    "search",
    "export",
    "combine",
    "channels",
    "new-channel",
    "convert",
    "estimate",
    "recipes",
    "schema",
    "bases",
    "setup",
    "check",
)
"""Pave's own verbs, in the order in which `pave --help` lists them.

Each has a module of its name.
"""


@dataclass(frozen=True)
class Verb:
    """One word after `pave`.

    Attributes:
        name: The word.
        module: Module of its function.
        function: Name of the function, whose parameters are the flags.
    """

    name: str
    module: str
    function: str

    @property
    def place(self) -> str:
        """The import path by which it is loaded when it is used."""
        return f"{self.module}:{self.function}"

    def file(self) -> Path | None:
        """Source of its module; None where there is no such module (any more)."""
        try:
            spec = find_spec(self.module)
        except ImportError:  # a package that was taken away and still announces its verb
            return None
        if spec is None or spec.origin is None:  # nothing there, or a namespace without a file
            return None
        return Path(spec.origin)

    def summary(self) -> str:
        """What it does, in a line; empty where its source cannot be read."""
        file = self.file()
        if file is None or file.suffix != ".py":
            return ""
        # Read, not run: importing would bring torch along for one line.
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == self.function:
                text = ast.get_docstring(node) or ""
                return text.partition("\n")[0]
        return ""


def find_verb(name: str) -> Verb:
    """The verb of a name.

    Raises:
        ConfigError: If there is none, or its package cannot be imported.

    Example:
        >>> find_verb("new-channel").place
        'pave.cli.new_channel:new_channel_verb'
    """
    if name in OWN:
        return _own(name)
    plugins = _plugins()
    if name not in plugins:
        hint = did_you_mean(name, [*OWN, *plugins])
        raise ConfigError(f"unknown command {name!r}{hint} (see: pave --help)")
    point = plugins[name]
    try:
        # The import is tried here, where a failure can be told in one line.
        point.load()
    except PaveError:
        raise
    except Exception as error:  # not our code: whatever it raises becomes one clear line
        raise ConfigError(
            f"the package of the command {name!r} ({point.value}) cannot be imported: {error}"
        ) from error
    return _of(point)


def all_verbs() -> list[Verb]:
    """Pave's own in the order of use, then those of other packages that are still there."""
    others = [_of(point) for _, point in sorted(_plugins().items())]
    return [*map(_own, OWN), *(verb for verb in others if verb.file() is not None)]


def _own(name: str) -> Verb:
    module = name.replace("-", "_")  # a module's name may hold no hyphen
    return Verb(name, f"pave.cli.{module}", f"{module}_verb")


def _of(point: EntryPoint) -> Verb:
    return Verb(point.name, point.module, point.attr)


def _plugins() -> dict[str, EntryPoint]:
    """What installed packages announce; nobody takes a name of pave's own."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in OWN}
