"""The `frames/tower` encoder: many more frames than the base looks at, 2 x 2 tokens each.

The tokens are those of the base's own tower. What flashes by between two of the base's frames is in
these. No extra weights.
"""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.places import CODE, with_places
from pave.channels.registry import register_encoder
from pave.channels.tower import CHUNK, Tower, encode_chunks
from pave.media import Rate, stream_frames
from pave.tokens import Tokens


class FastFramesSettings(BaseModel):
    """Settings of the fast frames encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fps: float = Field(
        8.0,
        gt=0,
        le=1000,
        description="Frames per second; with a rate above the video's own, every frame is used "
        "once.",
    )
    at_most: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Most frames of a clip; a longer one is sampled evenly.",
    )
    side: int = Field(
        2,
        ge=1,
        le=256,
        description="A frame becomes side x side tokens, each the mean of its region.",
    )
    place: bool = Field(
        False,
        description="Add a code of its region to each token, for a tower whose tokens do not tell "
        "where in the picture they lie (a convolutional one).",
    )

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `place` where it is off: tokens that were cached before it keep their key."""
        fields: dict[str, Any] = write(self)
        if not self.place:
            fields.pop("place", None)
        return fields


@register_encoder("frames", "tower", FastFramesSettings, needs_tower=True)
class FastFramesEncoder:
    """Tokens `[T, side * side, C]`: regions row by row, at the frames' own times.

    With `place`, ten more features say where the region lies.

    A tower that merges two frames into a step puts it between their times. Frames are decoded and
    encoded eight at a time, so a long video needs no more memory than a short one.
    """

    channel = "frames"
    name = "tower"

    def __init__(self, settings: FastFramesSettings, tower: Tower) -> None:
        self._set = settings
        self._tower = tower

    @property
    def dim(self) -> int:
        """C, the width of the base's tower, and that of the places' code."""
        if self._set.place:
            return self._tower.dim + CODE
        return self._tower.dim

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings and the tower."""
        return {**self.settings, "tower": self._tower.digest}

    def encode(self, source: Source) -> Tokens:
        """Tokens of a video file or a folder of frames (taken as one frame a second)."""
        s = self._set
        # Chunks of [CHUNK, 3, H, W] uint8; a folder of pictures counts as one frame a second.
        frames = stream_frames(one_path(source, "frames/tower"), Rate(s.fps, s.at_most), CHUNK)
        values, times = encode_chunks(self._tower, frames, s.side)  # [T, S, C] and [T]
        if s.place:
            values = with_places(values, s.side)
        return Tokens(values, times)
