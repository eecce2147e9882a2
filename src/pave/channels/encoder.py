"""`Encoder`: the one thing a side channel must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pave.cache import Source
from pave.errors import ChannelError
from pave.media.limits import TOKEN_VALUES, limit
from pave.texts import counted
from pave.tokens import Tokens

MOST_FRAMES = 4096
"""Frames that settings may ask of a clip, also of one that is shorter and has to repeat some."""


@runtime_checkable
class Encoder(Protocol):
    """Turns a channel's raw media into tokens.

    Frozen: the same source always gives the same tokens.

    Attributes:
        channel: The kind of signal it reads, e.g. "audio".
        name: Its name among the channel's encoders, e.g. "mel".
        dim: C, the features of one token.
        settings: All its settings as JSON values; channel, name and settings rebuild it from a
            patch folder.

    Two more members are optional:

    * `identity`: what the tokens depend on, as JSON values, where that is not the settings: a
      digest of the weights instead of the path of their file, the base's tower, nothing that only
      training uses. The token cache's key holds it in place of them.
    * `vary(tokens, chance) -> Tokens`: what training may do to cached tokens each time it meets
      them, drawn from `chance`, a `random.Random`; for example use a random part of the cameras.
      Evaluation never calls it.
    """

    @property
    def channel(self) -> str:
        """The kind of signal it reads."""
        ...

    @property
    def name(self) -> str:
        """Its name among the channel's encoders."""
        ...

    @property
    def dim(self) -> int:
        """C, the features of one token."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings as JSON values."""
        ...

    def encode(self, source: Source) -> Tokens | None:
        """Encode one clip's channel.

        Args:
            source: Where the channel's media is (usually the video's own path for sound).

        Returns:
            The tokens, or None when the clip has no such channel (a silent film).

        Raises:
            MediaError: If the media is broken.
            ChannelError: If it is not what this encoder reads.
        """
        ...


def identity_of(encoder: Encoder) -> Mapping[str, Any]:
    """What an encoder's tokens depend on: its `identity` where it has one, else its settings."""
    found = getattr(encoder, "identity", None)
    if found is None:
        return dict(encoder.settings)
    return dict(found)


def one_path(source: Source, encoder: str) -> Path:
    """The single path that an encoder of one file needs.

    Args:
        source: What the record gave.
        encoder: Who asks, for the message.

    Raises:
        ChannelError: If the source is a list or a mapping.
    """
    if isinstance(source, (str, Path)):
        return Path(source)
    raise ChannelError(f"{encoder} reads one file, got {type(source).__name__}; pass a single path")


def must_hold_tokens(encoder: str, steps: int, tokens: int, dim: int) -> None:
    """Refuse to make more tokens of a clip than memory is meant for, before they are made.

    Settings come with patches of other people, and a few digits of them ask for any amount.

    Args:
        encoder: Who asks, for the message.
        steps: T, in time.
        tokens: S, of a step.
        dim: C, features of a token.

    Raises:
        ChannelError: If `[T, S, C]` holds more numbers than the limit.
    """
    most = limit(TOKEN_VALUES)
    if steps * tokens * dim > most:
        raise ChannelError(
            f"{encoder}: {counted(steps, 'step')} of {counted(tokens, 'token')} of {dim:,} "
            f"features, more numbers than the limit of {most:,}; change its settings, cut the "
            f"clip or set {TOKEN_VALUES}"
        )
