"""Clips for vLLM: frames as the base takes them, and what belongs to them beside.

vLLM hands a clip's frames on together with a mapping of whatever its reader knows of the film. Ours
knows which patch is asked, when each frame is shown, and the patch's side tokens. vLLM's caches
count the mapping in, so that the same frames with another sound are another clip.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from pave.bases.pace import sampling_of
from pave.errors import ChannelError, PaveError
from pave.media import read_frames
from pave.vllm.patches import served

Read = tuple[npt.NDArray[Any], dict[str, Any]]
"""Frames `[F, H, W, 3]` uint8, and what is known of them."""


def read_clip(path: str | Path, patch: str | None = None) -> Read:
    """Read a clip for a request: what `multi_modal_data` calls `video`.

    Args:
        path: The film.
        patch: The patch that is asked, by its name as a LoRA; None for the base.

    Raises:
        ChannelError: If the film lacks the patch's channel.
        MediaError: If it cannot be read.
    """
    known = served()
    frames = read_frames(path, sampling_of(known.base, known.frames(patch)))
    about: dict[str, Any] = {"patch": patch, "times": frames.times.tolist()}
    part = None if patch is None else known.patches[patch].part
    if part is not None:
        encoder = part.encoder
        assert encoder is not None  # `served` refuses patches without
        tokens = encoder.encode(str(path))
        if tokens is None:
            # vLLM has put its LoRA on already, which must not work alone.
            raise ChannelError(
                f"the film has no {part.channel}, which patch '{patch}' listens to; ask the base"
            )
        about["side"] = tokens.values.float()  # [T, S, C]
        about["side_times"] = tokens.times.double()
    return frames.pixels.permute(0, 2, 3, 1).contiguous().numpy(), about


class ClipLoader:
    """Reads the films of requests in vLLM's server; registered as `pave`."""

    @classmethod
    def load_bytes(cls, data: bytes, patch: str | None = None, **_: Any) -> Read:
        """A film as it was sent.

        Args:
            data: The file.
            patch: The patch that is asked.

        Raises:
            ValueError: If it cannot be read, or lacks the patch's channel: vLLM's 400.
        """
        with tempfile.NamedTemporaryFile(prefix="pave-vllm-") as file:
            file.write(data)
            file.flush()
            try:
                return read_clip(file.name, patch)
            except PaveError as error:
                text = str(error).replace(file.name, "the film")
                raise ValueError(text) from error


def times_of(about: dict[str, Any], frames: int) -> torch.Tensor:
    """`[F]` seconds of the frames; evenly spread where nothing is known, as when vLLM warms up."""
    times = about.get("times")
    if times is None:
        times = range(frames)
    return torch.tensor(list(times), dtype=torch.float64)
