"""A channel `odd`: a CSV file of seconds and a level, a line each."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel

from pave import Tokens, register_encoder


class LevelSettings(BaseModel, extra="forbid"):
    """How levels become features."""

    scale: float = 1.0


@register_encoder(
    "odd",
    "level",
    LevelSettings,
    reads="own",
    title="odd levels",
    gain="knows the odd level",
    example='"levels.csv"',
)
class Level:
    """Level and its square at each second."""

    channel, name, dim = "odd", "level", 2

    def __init__(self, settings: LevelSettings) -> None:
        self.scale = settings.scale
        self.settings = settings.model_dump(mode="json")

    def encode(self, source: object) -> Tokens | None:
        rows = [line.split(",") for line in Path(str(source)).read_text().splitlines()]
        if not rows:
            return None
        times = torch.tensor([float(seconds) for seconds, _ in rows], dtype=torch.float64)
        level = torch.tensor([float(value) for _, value in rows]) * self.scale
        # [T, 1, 2]: one token a second
        return Tokens(torch.stack([level, level**2], dim=1)[:, None], times)
