"""What can be said of an encoder and its channel without loading anything. Imports nothing.

Whether a channel is in the clip's own video, what users pass for it, what it is called in tables,
how many tokens a usual clip gives: all that is said once, in `EncoderInfo`. Whoever needs to know
it asks `pave.channels.describe_encoder` and keeps no table of channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Reads = Literal["video", "own"]


@dataclass(frozen=True)
class UsualShape:
    """Tokens of a usual clip, for estimates.

    Attributes:
        steps_per_second: Steps in time.
        tokens_per_step: Tokens of each.
        seconds: Length of the clip.
    """

    steps_per_second: float
    tokens_per_step: int
    seconds: float = 32.0

    @property
    def steps(self) -> int:
        """T of the usual clip."""
        return round(self.steps_per_second * self.seconds)


@dataclass(frozen=True)
class EncoderInfo:
    """What can be said about an encoder without loading it.

    Attributes:
        channel: The kind of signal it reads.
        name: Its name within the channel; empty for ready-made tokens, which need none.
        module: Where its code is.
        summary: What one token is.
        weights: Where its weights come from; empty for unknown.
        licence: Licence of those weights (of the package, for plug-ins).
        needs_tower: Whether it reads with the base's own tower.
        dim: Features of a token of its published weights; 0 where settings, files or the base
            decide.
        reads: "video" if the clip's own video file holds the channel, so that nothing need be
            given for it; "own" if it is a file of its own.
        title: What the channel is called in tables, e.g. "sound".
        gain: What a base with the channel does, for a sentence: "hears the video's sound".
        example: What users pass, as a Python expression: `ask(..., channels={channel: EXAMPLE})`.
        usual: Tokens of a usual clip; None if nothing can be said.
    """

    channel: str
    name: str
    module: str = ""
    summary: str = ""
    weights: str = ""
    licence: str = ""
    needs_tower: bool = False
    dim: int = 0
    reads: Reads = "own"
    title: str = ""
    gain: str = ""
    example: str = ""
    usual: UsualShape | None = None


READY_MADE = "pave.Tokens(values, times)"


def new_channel(channel: str) -> EncoderInfo:
    """What holds for a channel of which nobody said anything."""
    return EncoderInfo(
        channel,
        name="",
        title=channel,
        gain=f"uses the side channel `{channel}`",
        example=f'"path/to/{channel}"',
    )


# What all encoders of a channel share, unless one of them says otherwise.
CHANNELS = {
    "audio": EncoderInfo(
        "audio",
        name="",
        reads="video",
        title="sound",
        gain="hears the video's sound",
        example='"video.mp4"',
        usual=UsualShape(1, 1),  # a window a second, as ImageBind's
    ),
    "frames": EncoderInfo(
        "frames",
        name="",
        reads="video",
        title="a high frame rate",
        gain="sees the video at a high frame rate",
        example='"video.mp4"',
        usual=UsualShape(2, 4, seconds=120),  # 2 x 2 tokens, 2 frames a second, 2 minutes
    ),
    "scene3d": EncoderInfo(
        "scene3d",
        name="",
        title="depth",
        gain="knows the scene's 3D geometry",
        example='"scene0000_00/"',
        usual=UsualShape(1, 576),  # 32 frames of 24 x 24 cells
    ),
    "views": EncoderInfo(
        "views",
        name="",
        title="other cameras",
        gain="sees further cameras",
        example='["cam1.mp4", "cam2.mp4"]',
        usual=UsualShape(4, 196),  # 32 moments of 4 cameras, 14 x 14 cells
    ),
    "features": EncoderInfo(
        "features",
        name="",
        title="features",
        gain="uses features that were computed beforehand",
        example='"features.safetensors"',
        usual=UsualShape(1, 1),
    ),
}


def _own(channel: str, name: str, module: str, summary: str, weights: str) -> EncoderInfo:
    """One of pave's encoders, with what holds for its channel."""
    return replace(
        CHANNELS[channel],
        name=name,
        module=f"pave.{module}",
        summary=summary,
        weights=weights,
    )


def _official(channel: str, files: str, example: str) -> EncoderInfo:
    """The authors' feature files of a channel: beside the video, whatever they were made from."""
    info = _own(channel, "official", "paper.features", f"the authors' {files} feature files", NONE)
    return replace(info, reads="own", example=example)


NONE, BASE = "none", "the base's own tower"

_LIST = (
    _own("audio", "mel", "channels.mel", "log-mel windows of 0.2 s", NONE),
    replace(
        _own(
            "audio",
            "imagebind",
            "channels.imagebind",
            "ImageBind's sound branch, a 2 s window every second",
            "imagebind_huge.pth of facebookresearch/ImageBind, from a local file",
        ),
        licence="CC-BY-NC-SA-4.0",
        dim=1024,
    ),
    replace(
        _own(
            "audio",
            "clap",
            "channels.clap",
            "CLAP, a 2 s window every second",
            "laion/clap-htsat-unfused",
        ),
        licence="Apache-2.0",
    ),
    replace(
        _own(
            "audio",
            "ast",
            "channels.ast",
            "Audio Spectrogram Transformer, one token per half second",
            "MIT/ast-finetuned-audioset-10-10-0.4593",
        ),
        licence="BSD-3-Clause",
    ),
    replace(
        _own(
            "audio",
            "whisper",
            "channels.whisper",
            "Whisper's encoder, one token per 0.2 s",
            "openai/whisper-base",
        ),
        licence="Apache-2.0",
    ),
    replace(
        _own(
            "scene3d",
            "tower3d",
            "channels.scene3d.tower3d",
            "tower tokens of posed depth frames, with a code of their positions in the world",
            BASE,
        ),
        needs_tower=True,
    ),
    replace(
        _own(
            "scene3d",
            "llava3d",
            "channels.scene3d.llava3d",
            "CLIP patches plus LLaVA-3D's position embedding, before voxel pooling",
            "ChaimZhu/LLaVA-3D-7B, from local files",
        ),
        licence="see its model card",
        dim=1024,
    ),
    replace(
        _own("views", "tower", "channels.views", "tower tokens of every other camera", BASE),
        needs_tower=True,
    ),
    replace(
        _own("frames", "tower", "channels.frames", "2 x 2 tower tokens of many frames", BASE),
        needs_tower=True,
    ),
    replace(
        _own(
            "frames",
            "languagebind",
            "channels.languagebind",
            "LanguageBind's video tower, 2 x 2 tokens of 2 frames a second",
            "LanguageBind/LanguageBind_Video_merge, from a local file",
        ),
        licence="MIT",
        dim=1024,
    ),
    _official("audio", "audio", '"clip.pt"'),
    _official("frames", "languagebind", '"clip.pt"'),
    _official("scene3d", "3d_feature", '"scene0000_00.pt"'),
    _official("views", "exo", '["cam1.pt", "cam2.pt"]'),
    _own("features", "file", "channels.features", "precomputed tokens of a file", NONE),
)

OWN = {f"{info.channel}/{info.name}": info for info in _LIST}
"""pave's own encoders by "channel/name"."""
