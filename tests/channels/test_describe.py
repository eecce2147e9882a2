"""What an encoder says of itself and its channel, once, for everybody."""

from __future__ import annotations

import ast
import inspect

import pytest
from pydantic import BaseModel

from pave.channels import describe_encoder, describe_encoders, register_encoder
from pave.channels.catalog import OWN
from pave.channels.registry import ENCODERS


class Settings(BaseModel, extra="forbid"):
    """None."""


class Pulse:
    """One number a second.

    And more.
    """

    channel, name, dim, settings = "heart", "pulse", 1, {}

    def __init__(self, settings: Settings) -> None: ...

    def encode(self, source: object) -> None: ...


@pytest.mark.parametrize("key", sorted(OWN))
def test_own_encoders_say_everything(key: str) -> None:
    """Nothing is left open, the example is an expression, and the class is called as it says."""
    info = describe_encoder(*key.split("/"))
    assert f"{info.channel}/{info.name}" == key
    assert info.summary and info.weights and info.title and info.gain and info.usual
    ast.parse(info.example, mode="eval")
    entry = ENCODERS.get(key)
    assert entry.info is info
    assert len(inspect.signature(entry.build).parameters) == 1 + info.needs_tower


def test_what_the_video_holds() -> None:
    """Sound and a high frame rate are in it; files that somebody computed from it are not."""
    read = {f"{i.channel}/{i.name}" for i in describe_encoders() if i.reads == "video"}
    assert read >= {"audio/mel", "audio/imagebind", "audio/whisper", "frames/tower"}
    assert not read & {"audio/official", "frames/official", "views/tower", "scene3d/tower3d"}


def test_usual_shapes() -> None:
    """32 s of sound, 2 min at 2 frames a second, 32 frames of 24 x 24, 32 moments of 4 cameras."""
    shapes = {}
    for channel in ("audio", "frames", "scene3d", "views", "features"):
        usual = describe_encoder(channel).usual
        assert usual is not None
        shapes[channel] = (usual.steps, usual.tokens_per_step)
    assert shapes == {
        "audio": (32, 1),
        "frames": (240, 4),
        "scene3d": (32, 576),
        "views": (128, 196),
        "features": (32, 1),
    }


def test_ready_made_tokens() -> None:
    """They are in no video, and are given as they are."""
    info = describe_encoder("audio")
    assert (info.reads, info.example, info.title) == ("own", "pave.Tokens(values, times)", "sound")
    assert describe_encoder("heart").title == "heart"


def test_a_channel_of_ones_own() -> None:
    """What is said counts, for the encoder and for the channel; the rest can be read as it is."""
    said = {"title": "heart rate", "gain": "feels the pulse", "example": '"run.csv"'}
    register_encoder("heart", "pulse", Settings, **said)(Pulse)
    info = describe_encoder("heart", "pulse")
    assert (info.title, info.gain, info.example) == tuple(said.values())
    assert (info.reads, info.summary) == ("own", "One number a second.")
    assert info in describe_encoders()
    assert describe_encoder("heart").title == "heart rate"


def test_an_encoder_of_ones_own_for_a_known_channel() -> None:
    """It reads what the channel's other encoders read, unless it says otherwise."""
    register_encoder("audio", "pulse", Settings)(Pulse)
    register_encoder("audio", "pulse2", Settings, reads="own", example='"a.wav"')(Pulse)
    info, other = describe_encoder("audio", "pulse"), describe_encoder("audio", "pulse2")
    assert (info.reads, info.title, info.usual) == (
        "video",
        "sound",
        describe_encoder("audio", "mel").usual,
    )
    assert (other.reads, other.example, other.title) == ("own", '"a.wav"', "sound")


def test_an_encoder_that_is_not_installed() -> None:
    """A patch may name one: what holds for its channel is still known."""
    info = describe_encoder("audio", "nobody")
    assert (info.name, info.title, info.reads) == ("nobody", "sound", "video")
