"""The `audio/ast` encoder: patches of the Audio Spectrogram Transformer, averaged over frequency.

The network is that of transformers. Weights: MIT/ast-finetuned-audioset-10-10-0.4593 (BSD-3-Clause)
or another AST of the Hub, or a model folder.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.pretrained import Pretrained, averaged, heard, load_pretrained, windows
from pave.channels.registry import register_encoder
from pave.channels.weights import device_of
from pave.media import Sound, read_sound
from pave.tokens import Tokens

_FRAME_SECONDS = 0.01  # from one mel frame to the next, fixed in transformers' extractor
_SHORTEST = 0.025  # seconds: kaldi's window; less sound has not one mel frame


class AstSettings(BaseModel):
    """Settings of the AST encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        description="A Hub id, a model folder, or the name of a folder in PAVE_WEIGHTS.",
    )
    step: float = Field(
        0.5,
        gt=0,
        le=3600,
        description="Seconds per token: the mean of the patch columns in it (0.1 s each).",
    )


@register_encoder("audio", "ast", AstSettings)
class AstEncoder:
    """Tokens `[T, 1, C]`: means over `step` seconds and all frequencies, at their centres.

    C is 768 for the default model. The track is heard in passages of 10.24 s that follow one
    another; columns behind the track's end are dropped.
    """

    channel = "audio"
    name = "ast"

    def __init__(self, settings: AstSettings) -> None:
        self._set = settings

    @cached_property
    def _loaded(self) -> Pretrained:
        from transformers import ASTModel

        return load_pretrained(ASTModel, self._set.model, "audio/ast")

    @property
    def dim(self) -> int:
        """C, the width of the transformer."""
        return int(self._loaded.network.config.hidden_size)

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
        sound = read_sound(one_path(source, "audio/ast"), int(self._loaded.extractor.sampling_rate))
        if sound is None:
            return None  # a silent film lacks the channel
        return self.encode_sound(sound)

    def encode_sound(self, sound: Sound) -> Tokens:
        """Tokens of mono sound at the model's rate (16 kHz)."""
        config = self._loaded.network.config
        passage = config.max_length * _FRAME_SECONDS  # seconds; 1024 frames are 10.24
        # Columns that a token averages; they stand `time_stride` mel frames apart, 0.1 s.
        per = max(1, round(self._set.step / (config.time_stride * _FRAME_SECONDS)))
        values, times = [], []
        for centre, piece in windows(sound, passage, passage):
            seconds = len(piece) / sound.rate
            columns, at = self._passage(piece, sound.rate)  # [columns, C], [columns]
            mean, middle = averaged(*heard(columns, at, seconds), per)
            values.append(mean)
            times.append(middle + centre - seconds / 2)  # from the passage's clock to the clip's
        return Tokens(torch.cat(values)[:, None], torch.cat(times))

    @torch.inference_mode()
    def _passage(self, piece: Tensor, rate: int) -> tuple[Tensor, Tensor]:
        """`[columns, C]` and the columns' centres, in seconds from the passage's start."""
        config = self._loaded.network.config
        missing = max(0, round(_SHORTEST * rate) - len(piece))  # samples
        piece = torch.nn.functional.pad(piece, (0, missing))
        inputs = self._loaded.extractor(piece.numpy(), sampling_rate=rate, return_tensors="pt")
        # [1, 2 + rows * columns, C]: class token, distillation token, patches row by row, where a
        # row is a range of frequencies.
        states = self._loaded.network(
            **inputs.to(device_of(self._loaded.network))
        ).last_hidden_state
        hidden = states[0, 2:].float().cpu().clone()  # [rows * columns, C]
        columns = (config.max_length - config.patch_size) // config.time_stride + 1
        patches = hidden.unflatten(0, (-1, columns))  # [rows, columns, C]
        starts = torch.arange(columns, dtype=torch.float64) * config.time_stride  # mel frames
        centres = (starts + config.patch_size / 2) * _FRAME_SECONDS  # seconds
        return patches.mean(0), centres
