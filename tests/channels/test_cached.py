"""`encode_cached`: each clip is encoded once, and what is kept is what the encoder gave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from helpers.clips import numbered, tone
from pave.cache import TokenCache
from pave.channels import encode_cached, make_encoder
from pave.channels.mel import MelEncoder
from pave.media import write_video


def test_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the clip, and a silent film, are found in the store; other settings are not."""
    calls: list[object] = []
    original = MelEncoder.encode
    monkeypatch.setattr(
        MelEncoder, "encode", lambda self, source: calls.append(source) or original(self, source)
    )
    loud = write_video(tmp_path / "loud.mp4", numbered(10), 25, tone(0.4))
    copy = Path(shutil.copy(loud, tmp_path / "copy.mp4"))
    silent = write_video(tmp_path / "silent.mp4", numbered(10), 25)
    store, encoder = TokenCache(tmp_path / "store"), make_encoder("audio", "mel")
    first, again = encode_cached(store, encoder, loud), encode_cached(store, encoder, copy)
    assert first is not None and again is not None
    assert torch.equal(first.values, again.values) and torch.equal(first.times, again.times)
    assert (
        encode_cached(store, encoder, silent) is None
        and encode_cached(store, encoder, silent) is None
    )
    assert calls == [loud, silent]
    encode_cached(store, make_encoder("audio", "mel", {"n_mels": 32}), loud)
    assert len(calls) == 3


def test_without_a_store(tmp_path: Path) -> None:
    """None computes every time and gives the same."""
    clip = write_video(tmp_path / "a.mp4", numbered(10), 25, tone(0.4))
    encoder = make_encoder("audio", "mel")
    plain, kept = (
        encode_cached(None, encoder, clip),
        encode_cached(TokenCache(tmp_path / "s"), encoder, clip),
    )
    assert plain is not None and kept is not None and torch.equal(plain.values, kept.values)


def test_a_narrow_store_gives_the_same_tokens_the_first_time(tmp_path: Path) -> None:
    """With a bf16 store the computing call already returns what later calls will read."""
    clip = write_video(tmp_path / "a.mp4", numbered(10), 25, tone(0.4))
    store, encoder = TokenCache(tmp_path / "s", torch.bfloat16), make_encoder("audio", "mel")
    first, later = encode_cached(store, encoder, clip), encode_cached(store, encoder, clip)
    assert first is not None and later is not None
    assert first.values.dtype == torch.bfloat16 and torch.equal(first.values, later.values)
    assert first.times.dtype == torch.float64
