"""The `audio/clap` encoder: CLAP embeddings of windows of sound, through transformers.

Weights: laion/clap-htsat-unfused (Apache-2.0) or another CLAP of the Hub, or a model folder.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.pretrained import Pretrained, load_pretrained, windows
from pave.channels.registry import register_encoder
from pave.channels.weights import device_of
from pave.media import Sound, read_sound
from pave.tokens import Tokens


class ClapSettings(BaseModel):
    """Settings of the CLAP encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(
        "laion/clap-htsat-unfused",
        description="A Hub id, a model folder, or the name of a folder in PAVE_WEIGHTS.",
    )
    width: float = Field(
        2.0,
        ge=0.01,
        le=10,
        description="Seconds of sound per token; CLAP repeats it to fill its 10 s.",
    )
    step: float = Field(1.0, ge=0.01, le=3600, description="Seconds from one token to the next.")


@register_encoder("audio", "clap", ClapSettings)
class ClapEncoder:
    """Tokens `[T, 1, C]`: the projected embedding of each window, at its centre.

    C is 512 for the default model. Windows of 2 s start every second until the track's end; the
    last may be shorter.
    """

    channel = "audio"
    name = "clap"

    def __init__(self, settings: ClapSettings) -> None:
        self._set = settings

    @cached_property
    def _loaded(self) -> Pretrained:
        from transformers import ClapAudioModelWithProjection

        return load_pretrained(ClapAudioModelWithProjection, self._set.model, "audio/clap")

    @property
    def dim(self) -> int:
        """C, the width of CLAP's shared space."""
        return int(self._loaded.network.config.projection_dim)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The settings, with digests for the name of the model."""
        return {**self.settings, **self._loaded.identity()}

    def encode(self, source: Source) -> Tokens | None:
        """Tokens of a file's sound track; None when it has none."""
        sound = read_sound(
            one_path(source, "audio/clap"), int(self._loaded.extractor.sampling_rate)
        )
        if sound is None:
            return None  # a silent film lacks the channel
        return self.encode_sound(sound)

    @torch.inference_mode()
    def encode_sound(self, sound: Sound) -> Tokens:
        """Tokens of mono sound at the model's rate (48 kHz)."""
        values, times = [], []
        for time, piece in windows(sound, self._set.width, self._set.step):
            inputs = self._loaded.extractor(
                piece.numpy(), sampling_rate=sound.rate, return_tensors="pt"
            )
            found = self._loaded.network(**inputs.to(device_of(self._loaded.network))).audio_embeds
            values.append(found.reshape(1, -1).float().cpu().clone())  # [S, C], S = 1
            times.append(time)
        return Tokens(torch.stack(values), torch.tensor(times, dtype=torch.float64))
