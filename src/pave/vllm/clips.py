"""What belongs to a clip in vLLM, whatever its family: four tensors beside its pixels.

pave_patch       []          which patch is asked, by number; -1 for the base
pave_times       [T]         seconds of the token steps
pave_side        [K, S, C]   side tokens; [0, 0, 0] where there are none
pave_side_times  [K]         their seconds
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pave.bases import Clip
from pave.media import Frames
from pave.patches.parts import Part
from pave.vllm.patches import served
from pave.vllm.reading import times_of

PIXELS = "pixel_values_videos"
FIELDS = ("pave_patch", "pave_times", "pave_side", "pave_side_times")


def prepared(frames: Any, about: dict[str, Any]) -> tuple[Clip, dict[str, Tensor]]:
    """A clip as its base takes it, and its four tensors.

    Args:
        frames: `[F, H, W, 3]`.
        about: What `pave.vllm.reading` knows of them.
    """
    known = served()
    pixels = torch.as_tensor(frames).permute(0, 3, 1, 2)  # [F, 3, H, W]
    clip = known.base.clip(Frames(pixels, times_of(about, len(pixels))))
    beside = {
        "pave_patch": torch.tensor(known.number(about.get("patch"))),
        "pave_times": clip.times,
        "pave_side": about.get("side", torch.zeros(0, 0, 0)),
        "pave_side_times": about.get("side_times", torch.zeros(0, dtype=torch.float64)),
    }
    return clip, beside


def part_asked(patch: Tensor, side: Tensor) -> Part | None:
    """The channel of the patch that is asked about a clip; None where the base stands alone."""
    if int(patch) < 0 or not side.numel():
        return None
    asked = list(served().patches.values())[int(patch)]
    return asked.part  # none of a LoRA alone


def residual(part: Part, query: Tensor, times: Tensor, side: Tensor, side_times: Tensor) -> Tensor:
    """`[T, S, D]` float32: what a patch adds to a clip's tokens.

    Args:
        part: Its channel.
        query: `[T, S, C_q]`, what its fusion reads of the clip.
        times: `[T]` seconds.
        side: `[K, S, C]` side tokens.
        side_times: `[K]` seconds.
    """
    # Its own float32, also where vLLM has changed the usual type.
    fusion = part.fusion.to(query.device)
    (added,) = fusion([query.float()], [side.float()], [times], [side_times])
    found: Tensor = added
    return found
