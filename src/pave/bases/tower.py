"""`tower_of`: a base's visual tower in the shape that encoders know (`pave.channels.Tower`)."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

import torch

from pave.bases.base import Base
from pave.bases.digest import tower_digest
from pave.channels.tower import Cells, Window
from pave.media import Frames


def tower_of(base: Base) -> BaseTower:
    """The tower of a base, for `pave.channels.make_encoder(..., tower=...)`.

    Example:
        >>> tower = tower_of(load_base("smol"))  # doctest: +SKIP
        >>> encoder = make_encoder("views", "tower", tower=tower)  # doctest: +SKIP
    """
    return BaseTower(base)


class BaseTower:
    """Implements `pave.channels.Tower` with the base's own preprocessing, tower and pooling.

    Tokens are what the authors take from LLaVA-OneVision for other cameras: the tower's last used
    layer before the projector, 27 x 27 pooled to 14 x 14; for each family it is the query of the
    fusion (`Visual.query`).
    """

    def __init__(self, base: Base) -> None:
        self._base = base

    @property
    def dim(self) -> int:
        """C, the width of the tower."""
        return self._base.query_dim

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one step in time."""
        return self._base.family.frames_per_step

    @cached_property
    def digest(self) -> str:
        """Weights, preprocessing and layout in one word."""
        base = self._base
        # How many frames a question samples is no matter of the tower.
        settings = base.settings.model_dump(mode="json", exclude={"frames"})
        parts = [base.fingerprint(), settings, tower_digest(base)]
        # Nothing is added for the family's own way, so that such caches keep their keys.
        if not base.inputs.native:
            # The other fields are about words and newline tokens, which no query holds.
            parts.append(base.inputs.model_dump(mode="json", include={"resize", "pool"}))
        written = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()

    def cells(self, frames: Frames) -> Cells:
        """`[T, h, w, C]` tokens of decoded frames."""
        clip = self._base.clip(frames)
        (visual,) = self._base.visual([clip])
        assert visual.query is not None
        layout = visual.layout
        grid = visual.query.unflatten(1, (layout.h, layout.w))  # [T, S, C] -> [T, h, w, C]
        return Cells(grid.to("cpu", torch.float32), clip.times)

    def window(self, height: int, width: int) -> Window:
        """The centre that is left by a base that crops, else all of the picture."""
        settings = self._base.settings
        if settings.crop is None or settings.shortest_edge is None:
            return Window()
        # Pixels are resized before they are cut: the crop's sides count resized pixels.
        scale = settings.shortest_edge / min(height, width)
        crop_height, crop_width = settings.crop
        down = min(1.0, crop_height / (scale * height))  # the part of the height that is left
        across = min(1.0, crop_width / (scale * width))
        return Window((1 - down) / 2, (1 - across) / 2, down, across)
