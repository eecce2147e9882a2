"""`check_encoder`: what pave relies on in every encoder, checked on one clip of its author's."""

from __future__ import annotations

import json

import torch

from pave.cache import Source
from pave.channels import Encoder, Tower, describe_encoder, make_encoder
from pave.channels.encoder import identity_of
from pave.tokens import Tokens


def check_encoder(
    encoder: Encoder, source: Source, *, without: Source | None = None, tower: Tower | None = None
) -> Tokens:
    """Check an encoder against the promises that pave's own keep.

    Args:
        encoder: A registered encoder.
        source: Media that has the channel.
        without: Media that lacks it, for encoders of which there is such a thing: a silent film.
        tower: The tower that the encoder reads with, if it needs one.

    Returns:
        The tokens of `source`, for checks of their values.

    Raises:
        AssertionError: With words, if a promise is broken.

    Example:
        >>> mel = make_encoder("audio", "mel")
        >>> tokens = check_encoder(mel, "a.mp4", without="silent.mp4")  # doctest: +SKIP
    """
    name = f"{encoder.channel}/{encoder.name}"
    info = describe_encoder(encoder.channel, encoder.name)
    assert info.title and info.gain and info.example, f"{name}: not registered"
    tokens = encoder.encode(source)
    assert tokens is not None, f"{name}: {source} should have the channel, the encoder says None"
    assert isinstance(tokens, Tokens), f"{name}: encode gives Tokens, got {type(tokens).__name__}"
    # Shapes that fit each other, finite values and times that never go back are `Tokens`' own care.
    assert tokens.steps > 0, f"{name}: no step at all; a clip that lacks the channel gives None"
    assert tokens.dim == encoder.dim, f"{name}: dim is {encoder.dim}, tokens have {tokens.dim}"
    assert tokens.values.is_floating_point(), f"{name}: values are {tokens.values.dtype}"
    assert not tokens.values.requires_grad, f"{name}: encoders are frozen, use torch.no_grad()"

    _must_equal(tokens, encoder.encode(source), f"{name}: the same source again")
    settings = json.loads(json.dumps(dict(encoder.settings)))  # as in a patch folder
    rebuilt = make_encoder(encoder.channel, encoder.name, settings, tower=tower)
    assert dict(rebuilt.settings) == settings, f"{name}: settings are not kept"
    _must_equal(tokens, rebuilt.encode(source), f"{name}: rebuilt from its settings")
    # It is a part of the key of cached tokens.
    identity = json.dumps(dict(identity_of(encoder)), sort_keys=True)
    other = json.dumps(dict(identity_of(rebuilt)), sort_keys=True)
    assert identity == other, f"{name}: identity of a rebuilt encoder differs: {other}"
    if without is not None:
        found = encoder.encode(without)
        assert found is None, f"{name}: {without} lacks the channel, so give None and not zeros"
    return tokens


def _must_equal(first: Tokens, second: Tokens | None, when: str) -> None:
    """The same tokens, bit for bit."""
    assert second is not None, f"{when}: None instead of tokens"
    same = torch.equal(first.values, second.values) and torch.equal(first.times, second.times)
    assert same, f"{when}: other tokens"
