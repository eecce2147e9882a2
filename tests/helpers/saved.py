"""Tiny bases as folders, with what their video processors are told.

folder = saved.base("gemma4", tmp_path / "base", torch.float16)
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from helpers import tiny


def base(family: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Save one in a type; loaded again it takes the frames that the tiny base takes."""
    made = tiny.base(family)
    made.model.to(dtype).save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    settings = made.settings
    found = {"image_mean": list(settings.mean), "image_std": list(settings.std)}
    if settings.max_pixels is not None and settings.min_pixels is None:
        # MiniCPM's processor: the side of a square of so many pixels.
        found["scale_resolution"] = math.isqrt(settings.max_pixels)
    elif settings.max_pixels is not None:
        limits = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
        found |= {"size": limits, "cap_pixels_per_frame": settings.cap_pixels_per_frame}
    elif settings.max_video_tokens is not None:
        found["max_soft_tokens"] = settings.max_video_tokens
    (folder / "video_preprocessor_config.json").write_text(json.dumps(found))
    return folder
