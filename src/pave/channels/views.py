"""The `views/tower` encoder: what other cameras saw at the same time.

It is told in tokens of the base's own tower, so no extra weights are needed. A record names the
other cameras' videos as a list, or, where their clocks differ from the main video's, as an object
with the seconds at which each one starts:

    "views": ["cam1.mp4", "cam2.mp4"]
    "views": {"videos": ["cam1.mp4", "cam2.mp4"], "offsets": [0.0, 1.25]}
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pave.cache import Source
from pave.channels.encoder import MOST_FRAMES, one_path
from pave.channels.registry import register_encoder
from pave.channels.tower import CHUNK, Tower, encode_chunks
from pave.channels.vary import some_cameras
from pave.errors import ChannelError
from pave.media import At, Uniform, frame_times, stream_frames
from pave.media.sampling import choose
from pave.tokens import Tokens

_SAME_MOMENT = 1e-3  # seconds, within which frame times of two containers are the same


class ViewsSettings(BaseModel):
    """Settings of the views encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    frames: int = Field(
        32,
        ge=1,
        le=MOST_FRAMES,
        description="Number of moments, spread evenly over the time in which all cameras film.",
    )
    side: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Pool a frame to side x side tokens; by default the base's own grid.",
    )
    random_views: bool = Field(
        False,
        description="In training, use a random part of the cameras each time, as the authors do.",
    )


class _Cameras(BaseModel):
    """The object form of a record's `views`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    videos: list[str] = Field(min_length=1)
    offsets: list[float] | None = None


@register_encoder("views", "tower", ViewsSettings, needs_tower=True)
class ViewsEncoder:
    """Tokens `[T * V, S, C]` of V cameras at T moments, camera v of moment t at `t * V + v`.

    So a moment's views stand together. Moments are those of the first camera's frames, every other
    camera gives the frame it showed then; times are on the main video's clock. With cameras of one
    length and no offsets these are the authors' frames (`np.linspace(0, N - 1, 32)`) in the
    authors' order; cameras stay in the order of the record, where the authors take whatever order
    the directory has.
    """

    channel = "views"
    name = "tower"

    def __init__(self, settings: ViewsSettings, tower: Tower) -> None:
        self._set = settings
        self._tower = tower

    @property
    def dim(self) -> int:
        """C, the width of the base's tower."""
        return self._tower.dim

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that shape tokens, and the tower.

        All cameras are kept in the token cache; training draws from them.
        """
        return {"frames": self._set.frames, "side": self._set.side, "tower": self._tower.digest}

    def encode(self, source: Source) -> Tokens:
        """Tokens of one or several videos.

        Raises:
            ChannelError: If the source is not as this module says, or the cameras never film at the
                same time.
        """
        cameras = cameras_of(source)
        moments = self._moments(cameras)
        values, times = [], []
        for path, offset in cameras:
            frames = stream_frames(path, At((moments - offset).tolist()), CHUNK)
            # The camera's own clock begins `offset` seconds into the main video.
            tokens, seen = encode_chunks(self._tower, frames, self._set.side)
            values.append(tokens)  # [T, S, C]
            times.append(seen + offset)
        if len({tuple(part.shape) for part in values}) > 1:
            raise ChannelError(
                "cameras with different image sizes give different token grids; set `side` to "
                "pool them all to one size"
            )
        by_moment = torch.stack(values, 1)  # [T, V, S, C]
        # All cameras of a moment stand at the first one's time: the others' differ by a frame.
        moment_times = times[0].repeat_interleave(len(cameras))  # [T * V]
        return Tokens(by_moment.flatten(0, 1), moment_times)

    def vary(self, tokens: Tokens, chance: random.Random) -> Tokens:
        """A random number of the cameras in random order, if `random_views` is set."""
        if not self._set.random_views:
            return tokens
        steps = math.ceil(self._set.frames / self._tower.frames_per_step)  # T, of one camera
        return some_cameras(tokens, tokens.steps // steps, chance)

    def _moments(self, cameras: list[tuple[Path, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds on the main clock, none of them outside of any camera's own time."""
        clocks = [frame_times(path) + offset for path, offset in cameras]  # [frames] each
        begin = max(clock[0] for clock in clocks)  # all have started
        end = min(clock[-1] for clock in clocks)  # none has ended
        main = clocks[0]
        shared = main[(main >= begin - _SAME_MOMENT) & (main <= end + _SAME_MOMENT)]
        if not len(shared):
            names = ", ".join(path.name for path, _ in cameras)
            raise ChannelError(f"the cameras {names} never film at the same time; check `offsets`")
        return np.asarray(shared[choose(shared, Uniform(self._set.frames))])


def cameras_of(source: Source) -> list[tuple[Path, float]]:
    """Videos and the seconds at which they start on the main video's clock."""
    if isinstance(source, (str, Path)):
        return [(one_path(source, "views/tower"), 0.0)]
    if not isinstance(source, Mapping | Sequence):
        raise ChannelError(f"views: got {source!r}; give a list of videos, or videos and offsets")
    if not isinstance(source, Mapping):
        source = {"videos": [str(path) for path in source]}
    try:
        named = _Cameras.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ChannelError(
            f"views: {where}: {first['msg']}; give a list of videos, or videos and offsets"
        ) from error
    offsets = named.offsets
    if offsets is None:
        offsets = [0.0] * len(named.videos)  # seconds
    if len(offsets) != len(named.videos):
        raise ChannelError(
            f"views: {len(named.videos)} videos need one offset each, got {len(offsets)}"
        )
    return [(Path(video), offset) for video, offset in zip(named.videos, offsets, strict=True)]
