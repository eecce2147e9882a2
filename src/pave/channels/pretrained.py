"""Sound encoders of transformers: loading them, and cutting a track into what they hear at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pave import hf_compat
from pave.channels.weights import FOLDER, best_device, weights_digest
from pave.errors import ChannelError
from pave.files import must_hold_files
from pave.media import Sound
from pave.texts import counted


@dataclass(frozen=True)
class Pretrained:
    """A frozen network of transformers and the feature extractor that came with it."""

    network: Any
    extractor: Any

    def identity(self) -> dict[str, Any]:
        """What their output depends on: a digest of the weights, and the extractor's settings."""
        weights = weights_digest(self.network.state_dict().items())
        return {"model": weights, "extractor": json.loads(self.extractor.to_json_string())}


def load_pretrained(kind: Any, source: str, encoder: str) -> Pretrained:
    """Load a network and its feature extractor; no torchaudio or torchvision is needed.

    Args:
        kind: The class in transformers.
        source: A model folder, the name of one in the folder `PAVE_WEIGHTS`, or a Hub id.
        encoder: Who asks, for the message.

    Raises:
        ChannelError: If either cannot be loaded, weights are missing, or there are more layers of
            them than the configuration asks for.
    """
    from transformers import AutoFeatureExtractor

    place = source
    beside = Path(os.environ.get(FOLDER, ".")) / source
    if beside.is_dir():
        place = str(beside)
    if os.path.isdir(place):
        must_hold_files(Path(place), ChannelError)
    try:
        # A repository's own code never runs; without the word transformers asks on the terminal.
        extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
        network, report = kind.from_pretrained(
            place,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        # Theirs are many lines long, and some are empty.
        lines = str(error).splitlines() or [type(error).__name__]
        first = lines[0].rstrip(".")
        raise ChannelError(
            f"{encoder} cannot load {source!r} ({first}); set `model` to a folder with "
            "config.json, weights and "
            "preprocessor_config.json, or to a Hub id that can be reached"
        ) from error
    wrong = hf_compat.unfilled(report)
    if wrong:
        raise ChannelError(
            f"{encoder}: in {source!r} {counted(len(wrong), 'tensor')} missing or with another "
            f"shape, first {wrong[0]}; download it again"
        )
    further = hf_compat.further_layers(network, report)
    if further:
        raise ChannelError(
            f"{encoder}: the weights in {source!r} have more layers than its config.json asks for, "
            f"first {further[0]}; download it again, or save the shorter network"
        )
    return Pretrained(network.eval().requires_grad_(False).to(best_device()), extractor)


def windows(sound: Sound, width: float, step: float) -> Iterator[tuple[float, Tensor]]:
    """Pieces of `width` seconds every `step` seconds that cover the whole track.

    The last one may be shorter.

    Args:
        sound: Mono sound.
        width: Seconds of a piece.
        step: Seconds from the start of one to the next.

    Yields:
        The time of each piece's centre, and its samples.
    """
    size = round(width * sound.rate)  # samples
    stride = round(step * sound.rate)
    total = len(sound.samples)
    # The last piece begins at the first multiple of `stride` whose piece reaches the end.
    for begin in range(0, max(1, total - size + stride), stride):
        piece = sound.samples[begin : begin + size]
        yield sound.start + (begin + len(piece) / 2) / sound.rate, piece


def heard(values: Tensor, times: Tensor, seconds: float) -> tuple[Tensor, Tensor]:
    """Steps of a passage that heard sound, and not the silence with which it was filled up.

    The first one stays, however short the sound is.

    Args:
        values: `[n, C]`.
        times: `[n]` seconds from the start of the passage.
        seconds: Length of the sound in it.

    Example:
        >>> heard(torch.arange(3.0)[:, None], torch.arange(3.0), 1.5)[1].tolist()
        [0.0, 1.0]
    """
    within = times < seconds  # [n]
    within[0] = True
    return values[within], times[within]


def averaged(values: Tensor, times: Tensor, per: int) -> tuple[Tensor, Tensor]:
    """Means of `per` consecutive steps each; the last mean may be of fewer.

    Args:
        values: `[n, C]`.
        times: `[n]` seconds.
        per: Steps in a mean.

    Example:
        >>> averaged(torch.arange(3.0)[:, None], torch.arange(3.0), 2)[1].tolist()
        [0.5, 2.0]
    """
    means = [part.mean(0) for part in values.split(per)]
    middles = [part.mean() for part in times.split(per)]
    return torch.stack(means), torch.stack(middles)  # [ceil(n / per), C], [ceil(n / per)]
