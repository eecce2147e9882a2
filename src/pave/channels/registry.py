"""Encoders by channel and name: pave's own, those of the program, and those of installed packages.

Nothing is imported before it is asked for, so listing encoders costs nothing and a broken plug-in
breaks only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from pave.arguments import as_kind
from pave.channels.catalog import CHANNELS, OWN, READY_MADE, EncoderInfo, Reads, new_channel
from pave.errors import ChannelError
from pave.registry import Registry, did_you_mean

if TYPE_CHECKING:  # nothing of torch is needed to say what there is
    from pave.channels.encoder import Encoder
    from pave.channels.tower import Tower

F = TypeVar("F", bound="Callable[..., Encoder]")


@dataclass(frozen=True, repr=False)
class Registered:
    """A registered encoder.

    Attributes:
        info: Its description.
        settings: The pydantic model of its settings.
        build: Its class: called with validated settings, and the base's tower if it needs one.
    """

    info: EncoderInfo
    settings: type[BaseModel]
    build: Callable[..., Encoder]

    def __repr__(self) -> str:
        """Where the class was written; the same place again is a cell that was run again."""
        return f"{self.build.__module__}.{self.build.__qualname__}"


# Entry points are named "channel.name", because a "/" means something else in them.
ENCODERS: Registry[Registered] = Registry(
    "encoder",
    "pave.encoders",
    {key: info.module for key, info in OWN.items()},
    ChannelError,
    announced=lambda name: name.replace(".", "/", 1),
)


def register_encoder(
    channel: str,
    name: str,
    settings: type[BaseModel],
    *,
    needs_tower: bool = False,
    reads: Reads | None = None,
    title: str = "",
    gain: str = "",
    example: str = "",
) -> Callable[[F], F]:
    """Class decorator that makes an encoder known.

    What is not said of the channel is taken from pave's description of it, where it has one.

    Args:
        channel: The kind of signal, an existing one ("audio") or your own.
        name: The encoder's name within the channel.
        settings: A pydantic model of its settings (`extra="forbid"` lets misspelt settings be
            caught); the class is called with one validated instance.
        needs_tower: Whether it reads with the base's own tower: the class is then called with the
            settings and a `pave.channels.Tower`.
        reads: "video" if the clip's own video file holds the channel, "own" if it is a file of its
            own. When not given: as the channel's other encoders, and "own" for a new channel.
        title: What the channel is called in tables, e.g. "heart rate".
        gain: What a base with it does, for the card's sentence: "feels the wearer's pulse".
        example: What users pass for it, as a Python expression: `'"run.csv"'`.

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
    for word in (channel, name):
        as_kind(word, str, "channel and encoder have texts for names", ChannelError)
    key = f"{channel}/{name}"
    shared = CHANNELS.get(channel) or new_channel(channel)

    def keep(build: F) -> F:
        info = OWN.get(key) or replace(
            shared,
            name=name,
            module=build.__module__,
            summary=_first_line(build),
            needs_tower=needs_tower,
            reads=reads or shared.reads,
            title=title or shared.title,
            gain=gain or shared.gain,
            example=example or shared.example,
        )
        ENCODERS.register(key, Registered(info, settings, build))
        return build

    return keep


def list_encoders() -> list[tuple[str, str]]:
    """All known encoders as sorted (channel, name) pairs, without importing any."""
    pairs = []
    for key in ENCODERS.names():
        channel, slash, name = key.partition("/")
        if slash:
            pairs.append((channel, name))
    return sorted(pairs)


def describe_encoders() -> list[EncoderInfo]:
    """All known encoders, without importing any; of a plug-in that means what its package says."""
    registered, plugins = ENCODERS.registered(), ENCODERS.plugins()
    infos = []
    for channel, name in list_encoders():
        key = f"{channel}/{name}"
        if key in OWN:
            infos.append(OWN[key])
        elif key in registered:
            infos.append(registered[key].info)
        else:
            infos.append(_announced(channel, name, plugins[key]))
    return infos


def describe_encoder(channel: str, name: str | None = None) -> EncoderInfo:
    """What there is to know of a channel as an encoder reads it; the encoder is not built.

    Args:
        channel: The kind of signal, e.g. "audio".
        name: The encoder, imported now if it is a plug-in's. None for ready-made tokens.

    Returns:
        The description. Of an encoder that is not installed here, or fails to import, what holds
        for its channel: describing is not the place to fail, `make_encoder` is.

    Example:
        >>> describe_encoder("audio", "mel").reads, describe_encoder("views", "tower").example
        ('video', '["cam1.mp4", "cam2.mp4"]')
        >>> describe_encoder("audio").example
        'pave.Tokens(values, times)'
    """
    key = f"{channel}/{name}"
    if key in OWN:
        return OWN[key]
    if name is not None:
        try:
            return ENCODERS.get(key).info
        except ChannelError:
            return replace(_channel(channel), name=name)
    return replace(_channel(channel), reads="own", example=READY_MADE)


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
    entry = ENCODERS.get(f"{channel}/{name}")
    if settings is None:
        settings = {}
    if not isinstance(settings, Mapping):
        raise ChannelError(
            f"encoder {channel}/{name}: settings are a mapping, got {type(settings).__name__}"
        )
    try:
        ready = entry.settings.model_validate(dict(settings))
    except ValidationError as error:
        complaint = _complaint(error, entry.settings)
        raise ChannelError(f"encoder {channel}/{name}: {complaint}") from error
    if not entry.info.needs_tower:
        encoder = entry.build(ready)
    elif tower is not None:
        encoder = entry.build(ready, tower)
    else:
        raise ChannelError(
            f"encoder {channel}/{name} uses the base's vision tower; pass "
            "tower=pave.bases.tower_of(base)"
        )
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
    return ENCODERS.get(f"{channel}/{name}").info.needs_tower


def registered_in(channel: str, name: str) -> str:
    """The module of an encoder's class.

    Raises:
        ChannelError: If the channel or the encoder is unknown.
    """
    return str(ENCODERS.get(f"{channel}/{name}").build.__module__)


def _channel(channel: str) -> EncoderInfo:
    """What holds for all encoders of a channel: what pave says, else what one of them said."""
    as_kind(channel, str, "the name of a channel is a text", ChannelError)
    if channel in CHANNELS:
        return CHANNELS[channel]
    for entry in ENCODERS.registered().values():
        if entry.info.channel == channel:
            return replace(entry.info, name="", module="", summary="", needs_tower=False)
    return new_channel(channel)


def _announced(channel: str, name: str, plugin: Any) -> EncoderInfo:
    """A plug-in's encoder before it is imported."""
    about: Mapping[str, Any] = {}
    if plugin.dist is not None:
        about = plugin.dist.metadata.json
    return replace(
        _channel(channel),
        name=name,
        module=plugin.value,
        summary=str(about.get("summary", "")),
        licence=str(about.get("license_expression", "")),
    )


def _first_line(build: Callable[..., Encoder]) -> str:
    """The first line of a class's docstring."""
    return (build.__doc__ or "").strip().partition("\n")[0]


def _complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing wrong with the settings, in one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = list(model.model_fields)
        hint = did_you_mean(where, names)
        return f"unknown setting {where!r}{hint}; available: {', '.join(names)}"
    if first["type"] == "missing":
        return f"setting {where!r} is missing; give it a value"
    what = first["msg"].removeprefix("Value error, ")
    if not where:
        return what
    return f"setting {where!r}: {what}"
