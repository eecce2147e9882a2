"""Names of a package that are imported when they are first used.

`pave --help`, and settings that only name a base or a patch, must not wait for torch. A package
that offers heavy names lists their homes and lets this module fetch them (PEP 562).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose names live in other modules.

    Args:
        package: The package's `__name__`.
        homes: Public name -> module that defines it.

    Returns:
        Both functions, to be assigned under these names in the package's `__init__.py`.

    Example:
        >>> fetch, names = lazy_names("json", {"JSONDecoder": "json.decoder"})
        >>> fetch("JSONDecoder").__module__, names()
        ('json.decoder', ['JSONDecoder'])
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(homes[name])
        # A package that is called like its function takes calls itself, see `callable_package`.
        value: Any = home
        if home.__name__ != f"{package}.{name}":
            value = getattr(home, name)
        # The next look-up finds it without asking here.
        setattr(sys.modules[package], name, value)
        return value

    # Without this, `dir` and completion show only what has been used so far.
    def names() -> list[str]:
        return sorted(homes)

    return fetch, names


def callable_package(package: str, verb: str) -> None:
    """Let a package that is called like its main function be called as that function.

    `pave.train(config)` and `from pave.train import TrainConfig` are both what people write. Once
    the package has been imported, Python binds the name `pave.train` to it and not to the function,
    so the package takes the call.

    Args:
        package: The package's `__name__`, e.g. "pave.train".
        verb: The function's name in it, e.g. "train".
    """

    class CallablePackage(ModuleType):
        """A package that passes calls on to its main function."""

        def __call__(self, *args: Any, **settings: Any) -> Any:
            return getattr(self, verb)(*args, **settings)

    # Python looks `__call__` up on the type, so an attribute of the module would not do.
    sys.modules[package].__class__ = CallablePackage
