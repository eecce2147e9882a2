"""Side channels: encoders that turn a clip's sound, cameras, geometry or features into `Tokens`.

An encoder is found by channel and name; `describe_encoder` says all that others need to know of it
(`pave.channels.catalog`), `describe_encoders` lists them. Some read with the base's own tower and
get it as a `Tower`. A user's own is one class with the `register_encoder` decorator, in the same
program or in an installed package that names it under the entry point group `pave.encoders`.

Example:
    >>> from pave.channels import make_encoder
    >>> make_encoder("audio", "mel", {"n_mels": 40}).dim
    160
"""

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.cache import Source
    from pave.channels.cached import cache_key, encode_cached
    from pave.channels.catalog import EncoderInfo, UsualShape
    from pave.channels.encoder import Encoder
    from pave.channels.registry import (
        describe_encoder,
        describe_encoders,
        list_encoders,
        make_encoder,
        needs_tower,
        register_encoder,
    )
    from pave.channels.tower import Cells, Tower, Window

_HOMES = {
    "Cells": "pave.channels.tower",
    "Encoder": "pave.channels.encoder",
    "EncoderInfo": "pave.channels.catalog",
    "Source": "pave.cache",
    "Tower": "pave.channels.tower",
    "UsualShape": "pave.channels.catalog",
    "Window": "pave.channels.tower",
    "cache_key": "pave.channels.cached",
    "describe_encoder": "pave.channels.registry",
    "describe_encoders": "pave.channels.registry",
    "encode_cached": "pave.channels.cached",
    "list_encoders": "pave.channels.registry",
    "make_encoder": "pave.channels.registry",
    "needs_tower": "pave.channels.registry",
    "register_encoder": "pave.channels.registry",
}

__all__ = [
    "Cells",
    "Encoder",
    "EncoderInfo",
    "Source",
    "Tower",
    "UsualShape",
    "Window",
    "cache_key",
    "describe_encoder",
    "describe_encoders",
    "encode_cached",
    "list_encoders",
    "make_encoder",
    "needs_tower",
    "register_encoder",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
