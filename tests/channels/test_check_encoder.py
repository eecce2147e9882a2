"""`check_encoder` passes pave's own encoders and says what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pave.channels import make_encoder
from pave.channels.mel import MelEncoder
from pave.media import write_video
from pave.testing import check_encoder
from pave.tokens import Tokens


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    """One second with sound, and the same film without."""
    frames = [np.full((32, 32, 3), 9 * n, np.uint8) for n in range(10)]
    sound = np.sin(np.arange(16000) / 5).astype(np.float32)
    loud = write_video(tmp_path / "loud.mp4", frames, 10, sound)
    return loud, write_video(tmp_path / "silent.mp4", frames, 10)


def test_mel(clips: tuple[Path, Path]) -> None:
    """Also with settings of one's own, which are kept."""
    loud, silent = clips
    tokens = check_encoder(make_encoder("audio", "mel", {"n_mels": 8}), loud, without=silent)
    assert tokens.values.shape == (5, 1, 32)


def test_features(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 6), np.float32))
    check_encoder(make_encoder("features", "file", {"dim": 6}), tmp_path / "a.npy")


def test_what_is_wrong(clips: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance in the tokens, another width, zeros for a silent film: each is named."""
    loud, silent = clips
    encoder = make_encoder("audio", "mel")
    with pytest.raises(AssertionError, match="should have the channel"):
        check_encoder(encoder, silent)
    with pytest.raises(AssertionError, match="give None and not zeros"):
        check_encoder(encoder, loud, without=loud)
    narrow = Tokens(torch.zeros(2, 1, 3), torch.tensor([0.0, 1.0]))
    monkeypatch.setattr(MelEncoder, "encode", lambda *_: narrow)
    with pytest.raises(AssertionError, match="dim is 256, but the tokens have 3"):
        check_encoder(encoder, loud)
    monkeypatch.setattr(
        MelEncoder, "encode", lambda *_: Tokens(torch.rand(2, 1, 256), narrow.times)
    )
    with pytest.raises(AssertionError, match="the same source again: the tokens differ"):
        check_encoder(encoder, loud)
