"""The `audio/whisper` encoder: states of Whisper's encoder, which carry words as well as sounds.

The network is that of transformers. Weights: openai/whisper-base (Apache-2.0) or another Whisper of
the Hub, or a model folder.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.pretrained import Pretrained, averaged, heard, load_pretrained, windows
from pave.channels.registry import register_encoder
from pave.channels.weights import device_of
from pave.media import Sound, read_sound
from pave.tokens import Tokens

_STATE_SECONDS = 0.02  # two mel frames of 0.01 s: the encoder's second convolution has stride 2
_STATES_A_SECOND = 50


class WhisperSettings(BaseModel):
    """Settings of the Whisper encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(
        "openai/whisper-base",
        description="A Hub id, a model folder, or one's name in PAVE_WEIGHTS.",
    )
    passage: int = Field(
        30,
        ge=1,
        le=30,
        description="Seconds of sound that are encoded at once; fewer cost less for short clips.",
    )
    step: float = Field(
        0.2,
        gt=0,
        le=3600,
        description="Seconds per token: the mean of the encoder's states in it (0.02 s each).",
    )


@register_encoder("audio", "whisper", WhisperSettings)
class WhisperEncoder:
    """Tokens `[T, 1, C]`: means of encoder states over `step` seconds, at their centres.

    C is 512 for the default model. The track is heard in passages that follow one another, each
    normalised for itself as Whisper does; states behind the track's end are dropped. A passage
    shorter than 30 s uses only the first positions of the encoder.
    """

    channel = "audio"
    name = "whisper"

    def __init__(self, settings: WhisperSettings) -> None:
        self._set = settings

    @cached_property
    def _loaded(self) -> Pretrained:
        from transformers import WhisperModel

        loaded = load_pretrained(WhisperModel, self._set.model, "audio/whisper")
        return Pretrained(_shortened(loaded.network.encoder, self._set.passage), loaded.extractor)

    @property
    def dim(self) -> int:
        """C, the width of the encoder."""
        return int(self._loaded.network.config.d_model)

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
            one_path(source, "audio/whisper"), int(self._loaded.extractor.sampling_rate)
        )
        if sound is None:
            return None  # a silent film lacks the channel
        return self.encode_sound(sound)

    def encode_sound(self, sound: Sound) -> Tokens:
        """Tokens of mono sound at the model's rate (16 kHz)."""
        per = max(1, round(self._set.step / _STATE_SECONDS))  # states that a token averages
        values, times = [], []
        for centre, piece in windows(sound, self._set.passage, self._set.passage):
            seconds = len(piece) / sound.rate
            states = self._passage(piece, sound.rate)  # [states, C]
            # Seconds from the passage's start, at the states' centres.
            at = (torch.arange(len(states), dtype=torch.float64) + 0.5) * _STATE_SECONDS
            mean, middle = averaged(*heard(states, at, seconds), per)
            values.append(mean)
            times.append(middle + centre - seconds / 2)  # on the clip's clock
        return Tokens(torch.cat(values)[:, None], torch.cat(times))

    @torch.inference_mode()
    def _passage(self, piece: Tensor, rate: int) -> Tensor:
        """`[states, C]` of one passage, the silence that fills it up included."""
        inputs = self._loaded.extractor(
            piece.numpy(),
            sampling_rate=rate,
            return_tensors="pt",
            max_length=self._set.passage * rate,  # samples
        )
        network = self._loaded.network
        mel = inputs["input_features"].to(device_of(network))  # [1, bands, 100 * seconds]
        states: Tensor = network(mel).last_hidden_state[0]  # [states, C]
        return states.float().cpu().clone()


def _shortened(encoder: Any, seconds: int) -> Any:
    """The encoder, made for passages of so many seconds: it keeps its first positions."""
    positions = min(seconds * _STATES_A_SECOND, encoder.config.max_source_positions)
    kept = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions].clone())
    encoder.embed_positions = kept
    # transformers refuses mel pictures of another length than these say.
    encoder.max_source_positions = encoder.config.max_source_positions = positions
    return encoder
