"""The `audio/imagebind` encoder: ImageBind embeddings of 2 s windows.

The authors' released sound patches were trained on them. Weights: `imagebind_huge.pth` of
facebookresearch/ImageBind, given as a local file. Licence CC-BY-NC-SA-4.0: non-commercial.
"""

from __future__ import annotations

import logging
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.imagebind.branch import SoundBranch, build_branch
from pave.channels.imagebind.front import STRIDE_SECONDS, WINDOW_SECONDS, each_window
from pave.channels.imagebind.resample import RATE, can_resample, resampled_length
from pave.channels.registry import register_encoder
from pave.channels.weights import (
    best_device,
    device_of,
    find_weights,
    read_weights,
    weights_digest,
)
from pave.errors import ChannelError
from pave.media import Sound, read_sound
from pave.tokens import Tokens

logger = logging.getLogger(__name__)

_BATCH = 16  # windows that go through the branch together
_SOURCE = "imagebind_huge.pth, see facebookresearch/ImageBind"


class ImageBindSettings(BaseModel):
    """Settings of the ImageBind encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(
        "imagebind_huge.pth",
        description="The checkpoint: a path, or a name in the folder PAVE_WEIGHTS.",
    )
    heads: int = Field(
        12,
        ge=1,
        le=1024,
        description="Number of attention heads, which the checkpoint does not record.",
    )


@register_encoder("audio", "imagebind", ImageBindSettings)
class ImageBindEncoder:
    """Tokens `[K, 1, 1024]` of norm 20: one for each window [i, i + 2) s, at its centre.

    That is about one a second. Sound shorter than 2 s is one window. The weights are read when they
    are first needed.
    """

    channel = "audio"
    name = "imagebind"

    def __init__(self, settings: ImageBindSettings) -> None:
        self._set = settings

    @cached_property
    def _branch(self) -> SoundBranch:
        path = find_weights(self._set.weights, "audio/imagebind", _SOURCE)
        tensors = read_weights(path, [""])
        if not any(".audio." in key for key in tensors):
            raise ChannelError(
                f"{path}: does not contain the sound branch of ImageBind; give {_SOURCE}"
            )
        return build_branch(tensors, self._set.heads, str(path)).to(best_device())

    @property
    def dim(self) -> int:
        """C, 1024 for the released weights."""
        return self._branch.out

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The settings with a digest of the weights for their path."""
        return {**self.settings, "weights": weights_digest(self._branch.state_dict().items())}

    def encode(self, source: Source) -> Tokens | None:
        """Tokens of a file's sound track; None when it has none."""
        path = one_path(source, "audio/imagebind")
        sound = read_sound(path, None, mono=False)
        if sound is None:
            return None  # a silent film lacks the channel
        if not can_resample(sound.rate):
            logger.warning(
                "%s: FFmpeg resamples it, because its rate of %d samples per second is unusual",
                path,
                sound.rate,
            )
            sound = read_sound(path, RATE, mono=False) or sound
        return self.encode_sound(sound)

    @torch.inference_mode()
    def encode_sound(self, sound: Sound) -> Tokens:
        """Tokens of decoded sound: `[n]` or `[channels, n]` samples at any usual rate.

        Raises:
            ChannelError: If the authors' way of resampling would take gigabytes for the rate.
        """
        if not can_resample(sound.rate):
            raise ChannelError(
                f"audio/imagebind cannot resample {sound.rate:,} samples per second; bring the "
                f"sound to {RATE:,}"
            )
        samples = sound.samples.view(-1, sound.samples.shape[-1])  # [channels, n]
        windows = each_window(samples, sound.rate)
        parts = []
        # A batch at a time: the pictures of a long track are many times its size.
        while batch := list(islice(windows, _BATCH)):
            pictures = torch.stack(batch).to(device_of(self._branch))  # [16, 1, 128, 204]
            parts.append(self._branch(pictures).cpu())
        values = torch.cat(parts)  # [K, C]
        # Of a window; a whole track may be shorter.
        seconds = min(WINDOW_SECONDS, resampled_length(samples.shape[1], sound.rate) / RATE)
        starts = torch.arange(len(values), dtype=torch.float64) * STRIDE_SECONDS
        times = sound.start + starts + seconds / 2  # the centres, on the clip's clock
        return Tokens(values[:, None].clone(), times)
