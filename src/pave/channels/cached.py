"""`encode_cached`: an encoder behind the token cache, so that no clip is encoded twice."""

from __future__ import annotations

import torch

from pave.arguments import as_kind
from pave.cache import Source, TokenCache
from pave.channels.encoder import Encoder, identity_of
from pave.errors import ChannelError
from pave.tokens import Tokens

# Part of every key: raise it when the output of a built-in encoder or of the media readers changes
# for the same settings.
REVISION = 1


def cache_key(cache: TokenCache, encoder: Encoder, source: Source) -> str:
    """Where `encode_cached` keeps the tokens of a source.

    Raises:
        MediaError: If the media cannot be read.
        ConfigError: If that is no token cache.
        ChannelError: If that is no encoder.
    """
    as_kind(cache, TokenCache, "a token cache is a pave.cache.TokenCache")
    if not all(hasattr(encoder, part) for part in ("channel", "name", "settings")):
        raise ChannelError(f"an encoder is what make_encoder gives, got {type(encoder).__name__}")
    settings = {
        "encoder": [encoder.channel, encoder.name],
        "settings": identity_of(encoder),
        "revision": REVISION,
    }
    return cache.key(source, settings)


def label_of(encoder: Encoder) -> str:
    """What the token cache calls an encoder's tokens, e.g. "audio/mel"."""
    return f"{encoder.channel}/{encoder.name}"


def encode_cached(cache: TokenCache | None, encoder: Encoder, source: Source) -> Tokens | None:
    """Tokens of a source, from the token cache if they are there, else computed and kept.

    That a clip lacks the channel is remembered too.

    Args:
        cache: The token cache, or None to compute every time.
        encoder: The encoder.
        source: The channel's media.

    Returns:
        What `encoder.encode(source)` gives (values in the cache's dtype).

    Raises:
        MediaError: If the media is broken.
        ChannelError: If it is not what the encoder reads.
    """
    if cache is None:
        return encoder.encode(source)
    key = cache_key(cache, encoder, source)
    kept = cache.get(key)
    if kept is None:
        tokens = encoder.encode(source)
        if tokens is None:
            kept = {"absent": torch.zeros(0)}  # its presence says it
        else:
            kept = {"values": tokens.values, "times": tokens.times}
        cache.put(key, kept, label=label_of(encoder), content=cache.content(source))
        # Read again, so that the first answer has the cache's dtype as all later ones do; another
        # process may have removed it since.
        kept = cache.get(key) or kept
    if "absent" in kept:
        return None
    return Tokens(kept["values"], kept["times"])
