"""The registry: one's own encoder in one class, in the program or a package; helpful refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ConfigDict

from pave.channels import Encoder, Source, list_encoders, make_encoder, register_encoder
from pave.errors import ChannelError
from pave.media import read_sound
from pave.tokens import Tokens


class LevelSettings(BaseModel):
    """Settings of a user's encoder."""

    model_config = ConfigDict(extra="forbid")
    step: float = 0.5


class Level:
    """A user's own encoder: loudness, one number a step. This is all it takes."""

    channel, name, dim = "audio", "level", 1

    def __init__(self, settings: LevelSettings) -> None:
        self.settings: dict[str, Any] = settings.model_dump()
        self.step = settings.step

    def encode(self, source: Source) -> Tokens | None:
        """Root mean square of each step."""
        assert isinstance(source, (str, Path))
        sound = read_sound(source, 8000)
        if sound is None:
            return None
        parts = sound.samples.split(round(self.step * sound.rate))
        levels = torch.stack([part.square().mean().sqrt() for part in parts])
        return Tokens(
            levels[:, None, None], sound.start + (torch.arange(len(parts)) + 0.5) * self.step
        )


def test_own_encoder_in_the_program(tmp_path: Path) -> None:
    """Decorated, found, built, used."""
    from helpers.clips import mux, tone

    register_encoder("audio", "level", LevelSettings)(Level)
    encoder = make_encoder("audio", "level", {"step": 0.25})
    assert isinstance(encoder, Encoder) and ("audio", "level") in list_encoders()
    tokens = encoder.encode(
        mux(tmp_path / "a.wav", sounds=[(0.0, tone(1.0))], sound_codec="pcm_s16le")
    )
    assert tokens is not None and tokens.values.shape == (4, 1, 1)
    torch.testing.assert_close(
        tokens.values.flatten(), torch.full((4,), 0.5 / 2**0.5), rtol=0.05, atol=0
    )


def test_registering_twice() -> None:
    """The same class again (a notebook cell re-run) replaces itself; another one is refused."""
    register_encoder("audio", "level", LevelSettings)(Level)
    register_encoder("audio", "level", LevelSettings)(Level)
    with pytest.raises(ChannelError, match="already registered"):
        register_encoder("audio", "level", LevelSettings)(lambda settings: Level(settings))


def test_an_encoder_with_another_name() -> None:
    """A patch file could never find it again."""
    register_encoder("audio", "loud", LevelSettings)(Level)
    with pytest.raises(ChannelError, match="calls itself audio/level"):
        make_encoder("audio", "loud")


@pytest.mark.parametrize(
    ("channel", "name", "settings", "message"),
    [
        ("audo", "mel", {}, "no encoder 'audo/mel' .did you mean 'audio/mel'"),
        ("audio", "mle", {}, "no encoder 'audio/mle' .did you mean 'audio/mel'"),
        ("smell", "mel", {}, "available: audio/ast, .*, views/tower$"),
        ("audio", "mel", {"Rate": 8000}, "unknown setting 'Rate' .did you mean 'rate'"),
        ("audio", "mel", {"rate": "fast"}, "setting 'rate'"),
    ],
)
def test_refusals(channel: str, name: str, settings: dict[str, object], message: str) -> None:
    """Each says what there is and what was probably meant."""
    with pytest.raises(ChannelError, match=message) as caught:
        make_encoder(channel, name, settings)
    assert "\n" not in str(caught.value)


PLUGIN = """
from pydantic import BaseModel
from pave.channels import register_encoder
class S(BaseModel, extra="forbid"): dim: int = 3
@register_encoder("lidar", "{name}", S)
class Lidar:
    channel, name = "lidar", "{name}"
    def __init__(self, settings): self.settings, self.dim = settings.model_dump(), settings.dim
    def encode(self, source): return None
"""


ANNOUNCED = {"rings": "good", "broken": "broken", "wrong": "wrong"}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of three encoders: a good one, one that fails, one of another name."""
    info = tmp_path / "lidar_pave-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lidar-pave\nVersion: 1.0\n")
    points = [f"lidar.{name} = lidar_{of}" for name, of in ANNOUNCED.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pave.encoders]", *points]))
    (tmp_path / "lidar_good.py").write_text(PLUGIN.format(name="rings"))
    (tmp_path / "lidar_wrong.py").write_text(PLUGIN.format(name="other"))
    (tmp_path / "lidar_broken.py").write_text("import a_driver_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("lidar_good", "lidar_wrong", "lidar_broken"):
        sys.modules.pop(name, None)


def test_installed_plugins(plugins: Path) -> None:
    """Listed without being imported, imported when asked for; a broken one breaks only itself."""
    assert ("lidar", "rings") in list_encoders() and "lidar_good" not in sys.modules
    assert make_encoder("lidar", "rings", {"dim": 5}).dim == 5
    with pytest.raises(ChannelError, match=r"lidar/broken.* fails to import"):
        make_encoder("lidar", "broken")
    with pytest.raises(ChannelError, match="'lidar/wrong' does not register it"):
        make_encoder("lidar", "wrong")
    with pytest.raises(ChannelError, match="did you mean 'lidar/rings'"):
        make_encoder("lidar", "ring")


def test_listing_imports_no_decoder() -> None:
    """Encoders' modules are imported when one is built, not before."""
    code = (
        "import sys, pave.channels as c; c.list_encoders(); "
        "print('pave.channels.mel' in sys.modules, 'av' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False", "False"]
