"""The registry: encoders by channel and name, pave's own, those registered in the program, and those of installed packages.

Nothing is imported before it is asked for, so listing encoders costs nothing and a broken plug-in
breaks only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pave.channels.catalog import OWN, EncoderInfo
from pave.channels.encoder import Encoder
from pave.channels.tower import Tower
from pave.errors import ChannelError

GROUP = "pave.encoders"

F = TypeVar("F", bound=Callable[..., Encoder])


@dataclass(frozen=True)
class _Entry:
    """How to build one encoder: its settings model, and what takes a validated one."""

    settings: type[BaseModel]
    build: Callable[..., Encoder]
    needs_tower: bool


_registered: dict[tuple[str, str], _Entry] = {}


def register_encoder(
    channel: str, name: str, settings: type[BaseModel], *, needs_tower: bool = False
) -> Callable[[F], F]:
    """Class decorator that makes an encoder known.

    Args:
        channel: The kind of signal, an existing one ("audio") or your own.
        name: The encoder's name within the channel.
        settings: A pydantic model of its settings (`extra="forbid"` lets misspelt settings be
            caught); the class is called with one validated instance.
        needs_tower: Whether it reads with the base's own tower: the class is then called with the
            settings and a `pave.channels.Tower`.

    Raises:
        ChannelError: If another encoder already has the name.

    Example:
        >>> class LevelSettings(BaseModel, extra="forbid"):
        ...     step: float = 0.5
        >>> @register_encoder("audio", "level", LevelSettings)  # doctest: +SKIP
        ... class Level:
        ...     channel, name, dim = "audio", "level", 1
        ...     def __init__(self, settings): self.settings = settings.model_dump(mode="json")
        ...     def encode(self, source): ...
    """

    def keep(build: F) -> F:
        known = _registered.get((channel, name))
        if known is not None and _place(known.build) != _place(
            build
        ):  # the same place again: a module or notebook cell re-run
            raise ChannelError(
                f"encoder {channel}/{name} is already registered by {_place(known.build)}; choose "
                "another name"
            )
        _registered[channel, name] = _Entry(settings, build, needs_tower)
        return build

    return keep


def list_encoders() -> list[tuple[str, str]]:
    """All known encoders as sorted (channel, name) pairs, without importing any."""
    return sorted({*OWN, *_registered, *_plugins()})


def describe_encoders() -> list[EncoderInfo]:
    """All known encoders with where their weights come from, without importing any; plug-ins tell what their package says."""
    found = dict(OWN)
    for (channel, name), entry in _registered.items():
        doc = (entry.build.__doc__ or "").strip().partition("\n")[0]
        info = EncoderInfo(
            channel, name, entry.build.__module__, doc, needs_tower=entry.needs_tower
        )
        found.setdefault((channel, name), info)
    for (channel, name), plugin in _plugins().items():
        about = {} if plugin.dist is None else plugin.dist.metadata.json
        summary, licence = (str(about.get(key, "")) for key in ("summary", "license_expression"))
        found[channel, name] = EncoderInfo(channel, name, plugin.value, summary, licence=licence)
    return [found[key] for key in sorted(found)]


def make_encoder(
    channel: str,
    name: str,
    settings: Mapping[str, Any] | None = None,
    *,
    tower: Tower | None = None,
) -> Encoder:
    """Build an encoder.

    Args:
        channel: The kind of signal, e.g. "audio".
        name: The encoder's name, e.g. "mel".
        settings: Settings that differ from the encoder's defaults.
        tower: The base's tower (`pave.bases.tower_of(base)`), for encoders that read with it.

    Returns:
        A ready encoder.

    Raises:
        ChannelError: If the channel, the encoder or a setting is unknown, a setting has a wrong
            value, or the encoder needs a tower and there is none.
    """
    entry = _find(channel, name)
    try:
        ready = entry.settings.model_validate(dict(settings or {}))
    except ValidationError as error:
        raise ChannelError(
            f"encoder {channel}/{name}: {_complaint(error, entry.settings)}"
        ) from error
    if entry.needs_tower and tower is None:
        raise ChannelError(
            f"encoder {channel}/{name} reads with the base's tower; pass "
            "tower=pave.bases.tower_of(base)"
        )
    encoder = entry.build(ready, tower) if entry.needs_tower else entry.build(ready)
    if (encoder.channel, encoder.name) != (channel, name):
        raise ChannelError(
            f"encoder {channel}/{name} calls itself {encoder.channel}/{encoder.name}; make the "
            "two agree"
        )
    return encoder


def needs_tower(channel: str, name: str) -> bool:
    """Whether an encoder reads with the base's own tower.

    Raises:
        ChannelError: If the channel or the encoder is unknown.
    """
    return _find(channel, name).needs_tower


def _find(channel: str, name: str) -> _Entry:
    """The registered entry, imported now if it was not yet."""
    wanted = (channel, name)
    if wanted not in _registered and wanted in OWN:
        import_module(OWN[wanted].module)
    elif wanted not in _registered:
        plugin = _plugins().get(wanted)
        if plugin is None:
            raise ChannelError(_unknown(channel, name))
        _load(plugin)
    if wanted not in _registered:
        raise ChannelError(
            f"plug-in {channel}.{name} registers no encoder of that name; see "
            "pave.channels.register_encoder"
        )
    return _registered[wanted]


def _load(plugin: EntryPoint) -> None:
    """Import a plug-in; whatever it raises becomes one clear error, since it is not our code."""
    try:
        plugin.load()
    except ChannelError:
        raise
    except Exception as error:
        raise ChannelError(
            f"encoder plug-in {plugin.name} ({plugin.value}) fails to import: {error}"
        ) from error


def _plugins() -> dict[tuple[str, str], EntryPoint]:
    """Entry points named `channel.name`, by what they provide."""
    found = {}
    for plugin in entry_points(group=GROUP):
        channel, dot, name = plugin.name.partition(".")
        if dot:
            found[channel, name] = plugin
    return found


def _unknown(channel: str, name: str) -> str:
    """What was asked for, what there is, and what was probably meant."""
    known = list_encoders()
    channels = sorted({c for c, _ in known})
    if channel not in channels:
        return f"unknown channel {channel!r}{_hint(channel, channels)}; there are: {', '.join(channels)}"
    names = [n for c, n in known if c == channel]
    return f"unknown encoder {name!r} for channel {channel!r}{_hint(name, names)}; there are: {', '.join(names)}"


def _complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing wrong with the settings, in one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = list(model.model_fields)
        return f"unknown setting {where!r}{_hint(where, names)}; there are: {', '.join(names)}"
    if first["type"] == "missing":
        return f"setting {where!r} is missing; give it a value"
    what = first["msg"].removeprefix("Value error, ")
    return f"setting {where!r}: {what}" if where else what


def _hint(word: str, known: list[str]) -> str:
    """The nearest known word as a question."""
    near = get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _place(build: Callable[..., Encoder]) -> str:
    """Where a class or function was written."""
    return f"{build.__module__}.{build.__qualname__}"
