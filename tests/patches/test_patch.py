"""What a patch knows of itself."""

from __future__ import annotations

from helpers import tiny
from pave.model import PatchedModel


class OwnFile:
    """An encoder of another kind: its media is a file of its own."""

    channel, name, dim = "features", "file", 4
    settings: dict[str, object] = {}

    def encode(self, source: object) -> None:
        """No tokens."""


def test_whether_the_clip_holds_the_channel_is_known_by_the_encoder() -> None:
    model = PatchedModel(tiny.base())
    sound = model.patches[model.new_patch("audio", name="sound")]
    ready = model.patches[
        model.new_patch("audio", name="ready", encoder=None, fusion={"side_dim": 4})
    ]
    assert sound.in_video and not ready.in_video
    sound.keep_encoder(OwnFile())
    sound.config = sound.config.model_copy(update={"channel": "features"})
    assert not sound.in_video
