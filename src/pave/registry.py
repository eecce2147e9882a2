"""`Registry`: things by name, from pave, from the program at hand, and from installed packages.

Encoders, families, tasks and fusions are all found in this one way. A name belongs to whoever
registered it in the running program, else to pave, else to the installed package that announces it
under the registry's entry point group. Nothing is imported before it is asked for, so that listing
costs nothing and a broken plug-in breaks only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from pave.arguments import as_kind
from pave.errors import PaveError

T = TypeVar("T")


class Registry(Generic[T]):
    """The things of one kind, by name.

    Args:
        what: What one of them is called in messages, e.g. "task".
        group: Entry point group by which installed packages announce theirs, e.g. "pave.tasks".
        own: Name -> module of pave that registers it.
        error: What is raised for a name that cannot be had.
        announced: Turns an entry point's name into the thing's, where the two cannot be alike.

    Example:
        >>> from pave.errors import ConfigError
        >>> colours = Registry[str]("colour", "example.colours", {}, ConfigError)
        >>> colours.register("red", "#f00")
        '#f00'
        >>> colours.get("red")
        '#f00'
    """

    def __init__(
        self,
        what: str,
        group: str,
        own: Mapping[str, str],
        error: type[PaveError],
        *,
        announced: Callable[[str], str] = str,
    ) -> None:
        self.what = what
        self.group = group
        self._announced = announced
        self._own = dict(own)
        self._error = error
        self._registered: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Make a thing known under a name; the same thing again, from a re-run cell, is fine.

        The program's takes the place of pave's own, whichever of the two is registered first.

        Raises:
            PaveError: Of the registry's kind, if the name belongs to something else that is not
                pave's own.
        """
        as_kind(name, str, f"the name of a {self.what} is a text", self._error)
        known = self._registered.get(name)
        # By where it was written: a re-run cell makes a new class of the same place.
        if known is None or _place(known) == _place(thing) or self._is_own(name, known):
            self._registered[name] = thing
        # Pave's own may come late, after the program has put another in its place: that one stays.
        elif not self._is_own(name, thing):
            raise self._error(
                f"{self.what} {name!r} is already registered by {_place(known)}; "
                "choose another name"
            )
        return thing

    def get(self, name: str) -> T:
        """The thing of a name, its module imported now if it was not yet.

        Raises:
            PaveError: Of the registry's kind, if there is none, or its plug-in fails to import.
        """
        as_kind(name, str, f"the name of a {self.what} is a text", self._error)
        if name not in self._registered:
            self._import(name)
        # Importing is all that is asked of a plug-in; its decorators do the rest.
        if name not in self._registered:
            raise self._error(
                f"the package that announces {self.what} {name!r} does not register it; report "
                "this to its author"
            )
        return self._registered[name]

    def names(self) -> list[str]:
        """All names, sorted, without importing anything."""
        return sorted({*self._own, *self._registered, *self.plugins()})

    def registered(self) -> dict[str, T]:
        """What has been registered so far in this process."""
        return dict(self._registered)

    def plugins(self) -> dict[str, EntryPoint]:
        """What installed packages announce, by name."""
        return {self._announced(name): point for name, point in announced(self.group).items()}

    def unknown(self, name: str) -> PaveError:
        """The error for a name that nobody knows, with the nearest one that somebody does."""
        known = self.names()
        hint = did_you_mean(name, known)
        return self._error(
            f"there is no {self.what} {name!r}{hint}; available: {', '.join(known) or 'none'}"
        )

    def _is_own(self, name: str, thing: T) -> bool:
        """Whether it was written in the module of pave that the name belongs to."""
        module = self._own.get(name)
        return module is not None and _place(thing).startswith(f"{module}.")

    def _import(self, name: str) -> None:
        """Import the module that registers a name."""
        # Pave's own first: a plug-in cannot take a name of it without the user's import.
        if name in self._own:
            import_module(self._own[name])
            return
        plugin = self.plugins().get(name)
        if plugin is None:
            raise self.unknown(name)
        try:
            plugin.load()
        except PaveError:  # says what is wrong in a line of its own
            raise
        except Exception as error:  # not our code: whatever it raises becomes one clear line
            raise self._error(
                f"the package of {self.what} {name!r} ({plugin.value}) fails to import: {error}"
            ) from error


def announced(group: str) -> dict[str, EntryPoint]:
    """What installed packages announce under an entry point group, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=group)}


def registering(registry: Registry[T], name: str) -> Callable[[T], T]:
    """A decorator that registers what it decorates."""

    def keep(thing: T) -> T:
        return registry.register(name, thing)

    return keep


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """The nearest known word as a question, or nothing.

    Example:
        >>> did_you_mean("audoi", ["audio", "views"])
        " (did you mean 'audio'?)"
    """
    if not isinstance(word, str):  # the caller says what it is
        return ""
    near = get_close_matches(word, known, n=1)
    if not near:
        return ""
    return f" (did you mean {near[0]!r}?)"


def _place(thing: object) -> str:
    """Where a class or function was written; for anything else, what it is."""
    name = getattr(thing, "__qualname__", None)
    if name is None:
        return repr(thing)
    return f"{getattr(thing, '__module__', '?')}.{name}"
