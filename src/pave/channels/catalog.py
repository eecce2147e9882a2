"""pave's own encoders: where each lives, what it makes, and where its weights come from. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderInfo:
    """What can be said about an encoder without loading it.

    Attributes:
        channel: The kind of signal it reads.
        name: Its name within the channel.
        module: Where its code is.
        summary: What one token is.
        weights: Where its weights come from; empty for unknown.
        licence: Licence of those weights (of the package, for plug-ins).
        needs_tower: Whether it reads with the base's own tower.
        dim: Features of a token of its published weights; 0 where settings, files or the base
            decide.
    """

    channel: str
    name: str
    module: str
    summary: str
    weights: str = ""
    licence: str = ""
    needs_tower: bool = False
    dim: int = 0


NONE, BASE = "none", "the base's own tower"
_HERE = "pave.channels"

OWN = {
    (info.channel, info.name): info
    for info in (
        EncoderInfo("audio", "mel", f"{_HERE}.mel", "log-mel windows of 0.2 s", NONE),
        EncoderInfo(
            "audio",
            "imagebind",
            f"{_HERE}.imagebind",
            "ImageBind's sound branch, a 2 s window every second",
            "imagebind_huge.pth of facebookresearch/ImageBind, from a local file",
            "CC-BY-NC-SA-4.0",
            dim=1024,
        ),
        EncoderInfo(
            "audio",
            "clap",
            f"{_HERE}.clap",
            "CLAP, a 2 s window every second",
            "laion/clap-htsat-unfused",
            "Apache-2.0",
        ),
        EncoderInfo(
            "audio",
            "ast",
            f"{_HERE}.ast",
            "Audio Spectrogram Transformer, a token each half second",
            "MIT/ast-finetuned-audioset-10-10-0.4593",
            "BSD-3-Clause",
        ),
        EncoderInfo(
            "audio",
            "whisper",
            f"{_HERE}.whisper",
            "Whisper's encoder, a token each 0.2 s",
            "openai/whisper-base",
            "Apache-2.0",
        ),
        EncoderInfo(
            "scene3d",
            "tower3d",
            f"{_HERE}.scene3d.tower3d",
            "tower tokens of posed depth frames beside a code of where they lie in the world",
            BASE,
            needs_tower=True,
        ),
        EncoderInfo(
            "scene3d",
            "llava3d",
            f"{_HERE}.scene3d.llava3d",
            "CLIP patches plus LLaVA-3D's position embedding, before voxel pooling",
            "ChaimZhu/LLaVA-3D-7B, from local files",
            "see its model card",
            dim=1024,
        ),
        EncoderInfo(
            "views",
            "tower",
            f"{_HERE}.views",
            "tower tokens of every other camera",
            BASE,
            needs_tower=True,
        ),
        EncoderInfo(
            "frames",
            "tower",
            f"{_HERE}.frames",
            "2 x 2 tower tokens of many frames",
            BASE,
            needs_tower=True,
        ),
        EncoderInfo(
            "frames",
            "languagebind",
            f"{_HERE}.languagebind",
            "LanguageBind's video tower, 2 x 2 tokens of 2 frames a second",
            "LanguageBind/LanguageBind_Video_merge, from a local file",
            "MIT",
            dim=1024,
        ),
        *(
            EncoderInfo(
                channel,
                "official",
                "pave.paper.features",
                f"the authors' {kind} feature files",
                NONE,
            )
            for channel, kind in (
                ("audio", "audio"),
                ("frames", "languagebind"),
                ("scene3d", "3d_feature"),
                ("views", "exo"),
            )
        ),
        EncoderInfo("features", "file", f"{_HERE}.features", "precomputed tokens of a file", NONE),
    )
}
