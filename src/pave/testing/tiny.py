"""Tiny random models of every family, with a byte-level tokenizer made in code. No downloads.

    base = tiny_base("llava_onevision")        # a frozen pave.bases.Base, in under 0.3 s
    clip = base.clip(tiny_frames(4))           # a clip of 4 frames, half a second apart
    tiny_inputs(base, (4, 4))                  # model inputs with one clip a row

They are the real classes of transformers with tiny sizes, so that what holds on them holds where a
model reads its tokens, not on a stand-in for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pave.bases import Base, Clip, load_base
from pave.errors import BaseError
from pave.media import Frames
from pave.seeds import seeded
from pave.testing.tiny_models import BUILDERS, FAMILIES, SETTINGS
from pave.testing.tiny_words import tiny_tokenizer


def tiny_base(family: str = "llava_onevision", seed: int = 0) -> Base:
    """A tiny frozen base of one of pave's own families; the same seed gives the same weights.

    Args:
        family: A `model_type` that `FAMILIES` lists.
        seed: Of the random weights.

    Raises:
        BaseError: If there is no tiny model of that name.

    Example:
        >>> tiny_base("internvl").hidden_dim
        32
    """
    if not isinstance(family, str) or family not in BUILDERS:
        raise BaseError(f"no tiny model of {family!r}; available: {', '.join(FAMILIES)}")
    with seeded(seed):
        model = BUILDERS[family]()
        spread_weights(model)
    return load_base(
        model,
        tiny_tokenizer(),
        settings=SETTINGS.get(family),
        name=f"tiny-{family}",
    )


def spread_weights(model: torch.nn.Module) -> None:
    """Draw all matrices anew, from a normal distribution of deviation 0.15.

    The usual initialisation makes tiny models nearly blind to their input, so that a test would
    hold whatever went wrong.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)


def tiny_frames(
    count: int, height: int = 48, width: int = 64, seed: int = 0, fps: float = 2.0
) -> Frames:
    """Random frames; frame i is shown at `i / fps` seconds."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, height, width)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    numbers = torch.arange(count, dtype=torch.float64)
    return Frames(pixels, numbers / fps)


def tiny_clips(
    base: Base, counts: Sequence[int] = (4, 4), height: int = 48, width: int = 64
) -> list[Clip]:
    """One clip of random frames for each count; clips differ."""
    clips = []
    for seed, count in enumerate(counts):
        frames = tiny_frames(count, height, width, seed)
        clips.append(base.clip(frames))
    return clips


def tiny_inputs(
    base: Base, counts: Sequence[int] = (4, 4), question: str = "What?", pad: str = "left"
) -> dict[str, Tensor]:
    """Model inputs for one random clip and one question a row; questions differ in length."""
    clips = tiny_clips(base, counts)
    asked = []
    for row, clip in enumerate(clips):
        longer = question + "?" * row
        prompt = base.encode_prompt(clip.text, [(longer, None)])
        asked.append(prompt.ask())
    return base.batch(asked, clips, pad=pad)
