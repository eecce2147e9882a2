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
    kind = type(tokens).__name__
    assert tokens is not None, f"{name}: {source} should have the channel, but encode gives None"
    assert isinstance(tokens, Tokens), f"{name}: encode must give Tokens, got {kind}"
    # Shapes that fit each other, finite values and times that never go back are `Tokens`' own care.
    assert tokens.steps > 0, (
        f"{name}: the tokens have no steps; a clip that lacks the channel must give None"
    )
    # A fusion is made for this width before any clip is encoded.
    assert tokens.dim == encoder.dim, (
        f"{name}: dim is {encoder.dim}, but the tokens have {tokens.dim}"
    )
    values = tokens.values  # [T, S, C]
    assert values.is_floating_point(), f"{name}: values are {values.dtype}"
    # Tokens that go into a cache with a graph behind them keep all of the encoder in memory.
    assert not values.requires_grad, f"{name}: encoders are frozen, use torch.no_grad()"

    again = encoder.encode(source)
    _must_equal(tokens, again, f"{name}: the same source again")
    written = json.dumps(dict(encoder.settings))  # as in a patch folder
    settings = json.loads(written)
    rebuilt = make_encoder(encoder.channel, encoder.name, settings, tower=tower)
    assert dict(rebuilt.settings) == settings, f"{name}: the settings are not stored"
    again = rebuilt.encode(source)
    _must_equal(tokens, again, f"{name}: rebuilt from its settings")
    # A part of the key of cached tokens: one that changes by itself would never find them again.
    other = _identity(rebuilt)
    same = _identity(encoder) == other
    assert same, f"{name}: the identity of a rebuilt encoder differs: {other}"
    if without is not None:
        found = encoder.encode(without)
        # Zeros are tokens: the fusion would attend to them and move the base's answer.
        assert found is None, (
            f"{name}: {without} lacks the channel, so encode must give None and not zeros"
        )
    return tokens


def _identity(encoder: Encoder) -> str:
    """What tells an encoder from another one, as it is written into keys."""
    identity = dict(identity_of(encoder))
    return json.dumps(identity, sort_keys=True)


def _must_equal(first: Tokens, second: Tokens | None, when: str) -> None:
    """The same tokens, bit for bit."""
    assert second is not None, f"{when}: None instead of tokens"
    same_values = torch.equal(first.values, second.values)
    same_times = torch.equal(first.times, second.times)
    assert same_values and same_times, f"{when}: the tokens differ"
