"""Old module names, for programs written before the rooms got their present ones.

`from pave.store import TokenStore` goes on to work, with a `DeprecationWarning` that names the new
place. Nothing in pave itself uses an old name.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "pave.channels.official": "pave.paper.features",
    "pave.data.extract": "pave.extract",
    "pave.data.official": "pave.paper.annotations",
    "pave.demo": "pave_world.demo",
    "pave.evaluate.decode": "pave.answer.generation",
    "pave.patches.model": "pave.model.model",
    "pave.patches.official": "pave.paper",
    "pave.store": "pave.cache",
    "pave.world": "pave_world",
}
"""Old module -> where its content is now; what was inside it is inside the new one."""

NAMES = {"TokenStore": "TokenCache"}
"""Old name in such a module -> the present one."""


class _Moved(Loader):
    """Makes a stand-in that looks every name up in the module's new place."""

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty module, whose names come when they are asked for."""
        target = import_module(self._target)

        def look_up(name: str) -> Any:
            return getattr(target, NAMES.get(name, name))

        # Not `target` itself: Python would write the old name's spec into it.
        module = ModuleType(spec.name, target.__doc__)
        module.__getattr__ = look_up  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


class _Finder(MetaPathFinder):
    """Finds modules under their old names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python asks this for every import that nothing else answers."""
        for old, new in MODULES.items():
            inside = fullname.removeprefix(old)
            # With the dot, so that `pave.storehouse` is not taken for a part of `pave.store`.
            if fullname != old and not fullname.startswith(f"{old}."):
                continue
            warnings.warn(f"{fullname} is {new + inside} now", DeprecationWarning, stacklevel=2)
            # Each counts as a package, or Python would not ask for the modules inside it.
            return ModuleSpec(fullname, _Moved(new + inside), is_package=True)
        return None


def install() -> None:
    """Let old names be imported; asked last, so that a module that exists is never hidden."""
    # Once, also where the package is reloaded.
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
